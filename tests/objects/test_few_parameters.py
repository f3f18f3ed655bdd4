"""Thousands of rows on an SQLite whose statements take no more than 999 parameters, as they did until 3.32."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext

import pytest
from django.db import connection, transaction

from django_task_safety import ObjectLocked
from django_task_safety.locking.locks import Lock
from django_task_safety.models import Operation
from tests.notesapp.models import Copy, Note, Page, Reminder
from tests.support.factories import FolderFactory
from tests.testapp import guarded_tasks as tasks
from tests.testapp.models import Page as GuardedPage
from tests.testapp.models import Sheet, Vault

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "sqlite", reason="about SQLite"),
]
MANY = 2500


@contextmanager
def few_parameters() -> Iterator[None]:
    before = connection.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)
    try:
        yield
    finally:
        connection.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, before)


@pytest.fixture
def pages() -> list[GuardedPage]:
    folder = FolderFactory()
    return GuardedPage.objects.bulk_create([GuardedPage(title=str(n), folder=folder) for n in range(MANY)])


@pytest.mark.parametrize("cascade", [False, True], ids=["queryset", "cascade"])
@pytest.mark.parametrize("in_transaction", [False, True], ids=["autocommit", "transaction"])
def test_thousands_are_deleted_and_their_operations_cancelled(pages, cascade, in_transaction):
    Sheet.objects.bulk_create([Sheet(page=page) for page in pages])
    tasks.cancelled_with.enqueue_many([(page, 1) for page in pages])
    delete = pages[0].folder.delete if cascade else GuardedPage.objects.all().delete
    with few_parameters(), transaction.atomic() if in_transaction else nullcontext():
        delete()
    assert not GuardedPage.objects.exists()
    assert not Operation.objects.pending().exists()


def test_one_of_thousands_protects(pages):
    operation = tasks.protects.enqueue(pages[-1])
    with pytest.raises(ObjectLocked) as refusal, few_parameters():
        GuardedPage.objects.all().delete()
    assert refusal.value.operation == operation
    assert GuardedPage.objects.count() == MANY


def test_thousands_are_removed_restored_and_deleted_for_good():
    note = Note.objects.create(title="a")
    copies = Copy.objects.bulk_create([Copy(note=note) for _ in range(MANY)])
    Page.objects.bulk_create([Page(copy=copy) for copy in copies])
    with few_parameters():
        assert Copy.objects.all().delete()[0] == 2 * MANY
        assert Copy.removed_objects.restore()[0] == 2 * MANY
        assert Copy.objects.all().hard_delete()[0] == 2 * MANY
    assert not Page.all_objects.exists()


def test_thousands_of_children_are_removed_restored_and_reconnected():
    note = Note.objects.create(title="a")
    Copy.objects.bulk_create([Copy(note=note) for _ in range(MANY)])
    Reminder.objects.bulk_create([Reminder(note=note) for _ in range(MANY)])
    with few_parameters():
        assert note.delete()[0] == 1 + MANY
        assert not Reminder.objects.exclude(note=None).exists()
        assert note.restore()[0] == 1 + MANY
        assert not Reminder.objects.filter(note=None).exists()
        assert note.hard_delete()[0] == 1 + MANY


def test_thousands_are_updated_unless_one_is_locked():
    vaults = Vault.objects.bulk_create([Vault(name="a") for _ in range(MANY)])
    with few_parameters():
        assert Vault.objects.update(name="b") == MANY
    lock = vaults[-1].lock()
    with ThreadPoolExecutor(1) as elsewhere:
        elsewhere.submit(acquire, lock).result()
        with pytest.raises(ObjectLocked), few_parameters():
            Vault.objects.update(name="c")
        elsewhere.submit(release, lock).result()
    assert set(Vault.objects.values_list("name", flat=True)) == {"b"}


def acquire(lock: Lock) -> None:
    try:
        lock.acquire()
    finally:
        connection.close()


def release(lock: Lock) -> None:
    try:
        lock.release()
    finally:
        connection.close()


def test_hundreds_are_enqueued_at_once(worker, monkeypatch):
    pages = GuardedPage.objects.bulk_create([GuardedPage(title=str(number)) for number in range(300)])
    with few_parameters():
        # Django before 6.1 does not ask the database how many it takes.
        monkeypatch.setattr(type(connection.features), "max_query_params", 999)
        tasks.cancelled_with.enqueue_many([(page, 1) for page in pages])
    assert Operation.objects.count() == len(pages)
