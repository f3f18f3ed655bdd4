"""What a delete costs beside Django's own statements, as docs/howto/protect.rst says."""

import math
from contextlib import nullcontext
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models.sql.constants import GET_ITERATOR_CHUNK_SIZE
from django.test.utils import CaptureQueriesContext

from django_task_safety.models import Operation
from tests.notesapp.models import Attachment, Note
from tests.support.factories import ChapterFactory, FolderFactory, PageFactory, SheetFactory
from tests.testapp import guarded_tasks as tasks
from tests.testapp.models import Chapter, Effect, Folder, Page, Sheet

pytestmark = pytest.mark.django_db(transaction=True)
#: Other databases lock the rows and look once; SQLite has one writer, and locks no rows.
LOCKS_ROWS = connection.features.has_select_for_update


def statements(delete: Any, in_transaction: bool = False) -> list[str]:
    with CaptureQueriesContext(connection) as captured, transaction.atomic() if in_transaction else nullcontext():
        delete()
    ended = ("BEGIN", "START", "SAVEPOINT", "RELEASE", "COMMIT")
    return [query["sql"] for query in captured if not query["sql"].startswith(ended)]


def ours(found: list[str]) -> list[str]:
    """Those that look at operations, change them, or lock rows for that."""
    return [sql for sql in found if Operation._meta.db_table in sql or "FOR UPDATE" in sql]


@pytest.mark.parametrize("rows", [2, 150])
def test_a_delete_looks_twice_at_each_model_that_goes_whatever_the_rows(rows: int):
    folder = FolderFactory()
    Sheet.objects.bulk_create([Sheet(page=PageFactory(folder=folder)) for _ in range(rows)])
    found = ours(statements(folder.delete))
    models = [Page, Sheet]
    assert len(found) == 2 * len(models), found
    assert not Folder.objects.exists()
    assert not Sheet.objects.exists()


def test_in_a_transaction_a_delete_locks_the_rows_of_each_model_and_looks_once():
    sheet = SheetFactory(page=PageFactory(in_folder=True))
    found = ours(statements(sheet.page.folder.delete, in_transaction=True))
    models = [Page, Sheet]
    assert len(found) == (2 if LOCKS_ROWS else 1) * len(models), found


def test_with_pending_operations_a_delete_also_locks_the_rows_and_cancels():
    page = PageFactory()
    tasks.cancelled_with.enqueue_many([(page, number) for number in range(20)])
    # Look; lock the rows; cancel; and see whether anything came in between.
    assert len(ours(statements(page.delete))) == (4 if LOCKS_ROWS else 3)
    assert not Operation.objects.pending().exists()


def test_with_pending_operations_a_delete_in_a_transaction_also_cancels():
    page = PageFactory()
    tasks.cancelled_with.enqueue_many([(page, number) for number in range(20)])
    assert len(ours(statements(page.delete, in_transaction=True))) == (3 if LOCKS_ROWS else 2)


def test_the_rows_of_a_child_by_inheritance_are_locked_besides():
    chapter = ChapterFactory()
    assert len(ours(statements(chapter.delete))) == (3 if LOCKS_ROWS else 2)
    assert not Chapter.objects.exists()


def test_rows_on_which_operations_may_be_pending_are_loaded_and_deleted_in_djangos_batches():
    rows = 250
    Sheet.objects.bulk_create([Sheet() for _ in range(rows)])
    found = statements(Sheet.objects.all().delete)
    assert len(ours(found)) == 2
    djangos = [sql for sql in found if sql not in ours(found)]
    assert [sql.split()[0] for sql in djangos] == ["SELECT"] + ["DELETE"] * math.ceil(rows / GET_ITERATOR_CHUNK_SIZE)


def test_rows_on_which_no_operation_can_be_pending_are_deleted_in_one_statement():
    Effect.objects.bulk_create([Effect(name="a", key=str(number)) for number in range(250)])
    assert [sql.split()[0] for sql in statements(Effect.objects.all().delete)] == ["DELETE"]


def test_children_on_which_no_operation_can_be_pending_are_deleted_unseen():
    note = Note.objects.create(title="a")
    Attachment.objects.bulk_create([Attachment(note=note) for _ in range(250)])
    found = [sql for sql in statements(note.hard_delete) if Attachment._meta.db_table in sql]
    assert [sql.split()[0] for sql in found] == ["DELETE"]
