"""A stranger's transaction takes the row of an attempt while that runs, and does not end: the attempt's slot is free
after a lease, and nothing is lost or done twice."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
from celery import chain
from celery.exceptions import Ignore
from django.db import connection, transaction

from django_task_safety import current_operation, idempotent_task, ledger, safe_task, split
from django_task_safety.context import running
from django_task_safety.ledger import schedule, table, worker_id
from django_task_safety.models import Operation, Queue
from django_task_safety.values.clock import Now
from django_task_safety.worker import hooks, queues, sweeper
from django_task_safety.worker.attempt import begin
from tests.support.factories import NoteFactory, OrderFactory, PageFactory
from tests.support.operations import state
from tests.support.racing import open_transaction
from tests.support.workers import until
from tests.testapp.models import Note, Order, Page
from tests.testapp.tasks import record

State = Operation.State
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("sqlite" in connection.vendor, reason="SQLite has one writer, and no locks of rows"),
]
#: Seconds: less than the stranger's transaction lasts.
SOON = 25
stranger = ExitStack()


class Odd(Exception):
    pass


def hold_all() -> None:
    """Lock every operation."""
    assert table.locked(table.rows(), wait=True)


def hold_once(operation: Operation) -> None:
    """Have the stranger come, in the first attempt."""
    if operation.attempt == 1:
        stranger.enter_context(open_transaction(hold_all))


@safe_task
def returns() -> None:
    NoteFactory(title=f"{current_operation().attempt}")
    hold_once(current_operation())


@safe_task(atomic=False)
def commits() -> None:
    NoteFactory(title=f"{current_operation().attempt}")
    hold_once(current_operation())


@safe_task
def ignores() -> None:
    NoteFactory(title=f"{current_operation().attempt}")
    hold_once(current_operation())
    raise Ignore("not today")


@safe_task(bind=True)
def goes_on(self) -> None:
    NoteFactory(title=f"{current_operation().attempt}")
    hold_once(current_operation())
    if current_operation().attempt == 1:
        self.retry(throw=False)


@safe_task(autoretry_for=[Odd], max_retries=3)
def is_retried() -> None:
    hold_once(current_operation())
    if current_operation().attempt == 1:
        raise Odd
    NoteFactory(title=f"{current_operation().attempt}")


@safe_task(max_retries=3)
def fails() -> None:
    hold_once(current_operation())
    raise Odd


@fails.compensate
def note_failure(operation: Operation, exc: BaseException) -> None:
    NoteFactory(title=patience_here())


@safe_task(on_delete="cancel")
def about(page: Page | None = None) -> str:
    return "" if page is None else page.title


@safe_task
def part(pks: list[int]) -> None:
    stranger.enter_context(open_transaction(hold_all))


@idempotent_task(key="key")
def once(key: str) -> str:
    return key


def patience_here() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout" if connection.vendor == "postgresql" else "SELECT 0")
        return str(cursor.fetchone()[0])


@pytest.fixture(autouse=True)
def short(settings) -> Iterator[None]:
    """Leases of a second, which MariaDB waits for as well."""
    settings.TASK_SAFETY = {**settings.TASK_SAFETY, "LEASE": 1.0}
    if connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@GLOBAL.innodb_lock_wait_timeout")
            (before,) = cursor.fetchone()
            cursor.execute("SET GLOBAL innodb_lock_wait_timeout = 1")
    yield
    stranger.close()
    if connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute("SET GLOBAL innodb_lock_wait_timeout = %s", [before])


def one_attempt(worker: Any, in_thread: Callable, task: Any) -> Operation:
    """Let the first attempt end while the row is held; then the stranger goes, and the work is done."""
    operation = task.enqueue()
    delivery = in_thread(partial(worker.deliver, worker.take_one())).result(SOON)
    assert (delivery.state, delivery.acknowledged) == ("IGNORED", True)
    assert state(operation) == State.RUNNING
    stranger.close()
    worker.pass_time(60)
    sweeper.sweep()
    worker.finish()
    operation.refresh_from_db()
    return operation


@pytest.mark.parametrize(
    ("task", "ended", "notes"),
    [
        (returns, State.SUCCEEDED, ["2"]),
        (commits, State.SUCCEEDED, ["1", "2"]),  # at least once, as it is without a transaction
        (ignores, State.CANCELLED, ["2"]),
        (goes_on, State.SUCCEEDED, ["2"]),
        (is_retried, State.SUCCEEDED, ["2"]),
        (fails, State.FAILED, ["0"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_an_attempt_whose_end_cannot_be_recorded_frees_its_slot(worker, in_thread, task, ended, notes):
    operation = one_attempt(worker, in_thread, task)
    assert (operation.state, operation.attempt) == (ended, 2)
    assert [note.title for note in Note.objects.order_by("pk")] == notes


def test_the_end_of_an_eager_attempt_leaves_its_callers_transaction_its_own_patience(worker):
    with transaction.atomic():
        before = patience_here()
        record.apply(["a"])
        assert patience_here() == before
    assert Operation.objects.get().state == State.SUCCEEDED


def test_a_slot_does_not_wait_to_note_that_callbacks_heard_and_does_not_forget_it(worker, in_thread):
    operation = record.enqueue("a")
    Operation.objects.filter(pk=operation.pk).update(state=State.SUCCEEDED, delivered=False)

    def tell() -> None:
        record.push_request(id=str(operation.pk), **{hooks._AWAITED: True})
        hooks._on_success(sender=record)
        record.pop_request()

    with open_transaction(hold_all):
        in_thread(tell).result(SOON)
        assert not Operation.objects.get(pk=operation.pk).delivered
    until(lambda: Operation.objects.get(pk=operation.pk).delivered)


def test_the_last_chunk_does_not_wait_for_its_parent_which_a_sweep_ends(worker, in_thread):
    OrderFactory()
    parent = split(Order.objects.all(), 1, part)
    chunk = parent.children.get()
    settle = ledger.parents.settle_parent
    Operation.objects.filter(pk=chunk.pk).update(state=State.SUCCEEDED)
    with open_transaction(partial(table.locked, table.by_id(parent.pk))):
        assert in_thread(partial(settle, parent.pk)).result(SOON) is False
        assert state(parent) == State.RUNNING
    worker.pass_time(60)
    sweeper.sweep()
    assert state(parent) == State.SUCCEEDED


def test_a_slot_does_not_wait_for_the_uncommitted_key_of_what_comes_next(worker, in_thread, monkeypatch):
    monkeypatch.setattr(worker_id, "in_worker", lambda: True)
    chain(record.si("a"), once.si("k")).apply_async()
    message = worker.take_one()
    with open_transaction(lambda: once.enqueue("k"), commit=False):
        in_thread(partial(worker.deliver, message)).result(SOON)
    first = Operation.objects.get(task=record.name)
    assert (first.state, first.delivered) == (State.SUCCEEDED, False)
    worker.pass_time(120)
    sweeper.sweep()
    worker.finish()
    assert Operation.objects.get(task=once.name).state == State.SUCCEEDED


def test_a_slot_does_not_wait_for_the_object_of_a_task_that_was_queued_when_it_took_none(worker, in_thread):
    operation = about.enqueue(PageFactory(title="found"))
    unknown = {"subject_label": "", "subject_id": "", "subject_database": "", "on_delete": ""}
    Operation.objects.filter(pk=operation.pk).update(payload=json.dumps([[Page.objects.get().pk], {}]), **unknown)
    worker.take()
    worker.pass_time(120)
    sweeper.sweep()
    message = worker.take_one()
    with open_transaction(lambda: Page.objects.select_for_update().get()):
        assert in_thread(partial(worker.deliver, message)).result(SOON).state == "IGNORED"
    worker.pass_time(60)
    sweeper.sweep()
    worker.finish()
    operation.refresh_from_db()
    assert (operation.state, operation.result) == (State.SUCCEEDED, "found")


def test_a_heartbeat_does_not_wait_for_the_row_of_its_queue(in_thread):
    Queue.objects.create(name="q", measured_at=Now(), heartbeat_sent=Now())
    with open_transaction(lambda: Queue.objects.select_for_update().get()):
        assert in_thread(partial(queues.heartbeat, "q")).result(SOON) is None
        assert Queue.objects.get().heartbeat_arrived is None
    queues.heartbeat("q")
    assert Queue.objects.get().heartbeat_arrived is not None


def test_what_is_left_to_be_told_waits_for_nobody(worker, in_thread):
    operation = record.enqueue("a")
    worker.finish()
    operation.refresh_from_db()

    def leave() -> None:
        with running(begin(record, operation)):
            schedule.leave_telling(operation)

    with open_transaction(hold_all):
        refusal = in_thread(leave).result(SOON)
    assert table.is_lock_timeout(refusal)
    with transaction.atomic():
        before = patience_here()
        leave()
        assert patience_here() == before
