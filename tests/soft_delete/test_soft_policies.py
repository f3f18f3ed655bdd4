"""Soft delete and the pending operations of what it removes."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.admin.utils import NestedObjects
from django.db import connection, transaction
from django.db.models.signals import pre_delete
from django.test.utils import CaptureQueriesContext

from django_task_safety import CANCEL, KEEP, PROTECT, ObjectGone, ObjectLocked, safe_task
from django_task_safety.locking.locks import Lock
from django_task_safety.models import Operation
from tests.notesapp.models import Copy, Note, PinnedNote, Report, Summary
from tests.notesapp.ways import WAYS, fresh, is_removed

State = Operation.State
pytestmark = pytest.mark.django_db
every_way = pytest.mark.parametrize("delete", WAYS)


@safe_task(on_delete=CANCEL)
def cancelled_with(obj: Any) -> None: ...


@safe_task(on_delete=PROTECT)
def protects(obj: Any) -> None: ...


@safe_task(on_delete=KEEP)
def is_continuation(obj: Any) -> str:
    return str(obj.is_removed)


def family() -> Iterator[Any]:
    note = Note.objects.create(title="a")
    yield note
    yield Copy.objects.create(note=note)


@every_way
@pytest.mark.parametrize("index", [0, 1], ids=["itself", "a child"])
def test_a_protecting_operation_refuses_a_soft_delete(delete, index):
    objs = list(family())
    operation = protects.enqueue(objs[index])
    with transaction.atomic():
        with pytest.raises(ObjectLocked) as raised:
            delete(objs[0])
        assert not is_removed(objs[0])
    assert raised.value.protected_objects == {operation}
    assert not any(is_removed(obj) for obj in objs)
    operation.cancel()
    assert delete(objs[0])[0] == 2


@every_way
@pytest.mark.parametrize("index", [0, 1], ids=["itself", "a child"])
def test_a_soft_delete_cancels_a_pending_operation(delete, index):
    objs = list(family())
    operation, other = cancelled_with.enqueue(objs[index]), cancelled_with.enqueue(Note.objects.create(title="b"))
    delete(objs[0])
    operation.refresh_from_db()
    other.refresh_from_db()
    assert (operation.state, other.state) == (State.CANCELLED, State.QUEUED)


def test_a_soft_delete_that_is_rolled_back_cancels_no_operation():
    note = Note.objects.create(title="a")
    operation = cancelled_with.enqueue(note)
    with transaction.atomic():
        note.delete()
        transaction.set_rollback(True)
    operation.refresh_from_db()
    assert operation.state == State.QUEUED


@pytest.mark.parametrize("model", [Note, Report, PinnedNote])
def test_an_operation_with_on_delete_keep_still_gets_its_removed_object(worker, model):
    note = model.objects.create(title="a")
    operation = is_continuation.enqueue(note)
    note.delete()
    worker.drain()
    operation.refresh_from_db()
    assert (operation.state, operation.result) == (State.SUCCEEDED, "True")


def test_an_operation_with_on_delete_keep_goes_on_when_an_ordinary_admin_removes_its_object():
    note = Note.objects.create(title="a")
    operation = is_continuation.enqueue(note)
    NestedObjects("default", origin=note).collect([note])
    note.delete()
    operation.refresh_from_db()
    assert operation.state == State.QUEUED


def test_a_receiver_that_deletes_another_object_for_good_cancels_its_operations():
    other = Note.objects.create(title="b")
    operation = is_continuation.enqueue(other)
    note = Note.objects.create(title="a")

    def receiver(instance: Note, **kwargs: Any) -> None:
        if instance == note:
            fresh(other).hard_delete()

    pre_delete.connect(receiver, sender=Note)
    try:
        note.delete()
    finally:
        pre_delete.disconnect(receiver, sender=Note)
    operation.refresh_from_db()
    assert operation.state == State.CANCELLED


def test_a_hard_delete_cancels_an_operation_with_on_delete_keep_too():
    note = Note.objects.create(title="a")
    operation = is_continuation.enqueue(note)
    note.hard_delete()
    operation.refresh_from_db()
    assert operation.state == State.CANCELLED


def test_a_hard_delete_of_a_removed_one_is_refused_by_what_protects():
    note = Note.objects.create(title="a")
    operation = protects.enqueue(note)
    Note.all_objects.update(is_removed=True)
    with pytest.raises(ObjectLocked):
        note.hard_delete()
    assert operation.subject == note


def test_a_removed_object_takes_no_new_operations():
    note = Note.objects.create(title="a")
    note.delete()
    for task in (cancelled_with, protects):
        with pytest.raises(ObjectGone):
            task.enqueue(note)
    assert is_continuation.enqueue(note).state == State.QUEUED


def test_restoring_an_object_does_not_bring_its_operations_back():
    note = Note.objects.create(title="a")
    operation = cancelled_with.enqueue(note)
    note.delete()
    note.restore()
    operation.refresh_from_db()
    assert operation.state == State.CANCELLED
    assert cancelled_with.enqueue(note).state == State.QUEUED


def test_a_soft_delete_takes_no_more_statements_for_many_operations():
    def statements(count: int) -> int:
        note = Note.objects.create(title="a")
        cancelled_with.enqueue_many([(note,)] * count)
        with CaptureQueriesContext(connection) as queries:
            note.delete()
        assert fresh(note).operations.filter(state=State.CANCELLED).count() == count
        return len(queries)

    assert statements(200) == statements(1)


@safe_task
def takes_two(obj: Any, other: Any) -> None: ...


@pytest.mark.parametrize("index", [0, 1], ids=["its object", "another one"])
def test_a_task_does_not_run_with_an_object_that_was_removed_by_an_update(worker, index):
    notes = [Note.objects.create(title="a"), Note.objects.create(title="b")]
    operation = takes_two.enqueue(*notes)
    Note.objects.filter(pk=notes[index].pk).update(is_removed=True)
    worker.drain()
    operation.refresh_from_db()
    assert operation.state == State.CANCELLED
    assert "is removed" in operation.error


def test_a_removed_child_of_a_parent_without_soft_delete_takes_no_operations_and_no_lock():
    summary = Summary.objects.create(text="a")
    operation = cancelled_with.enqueue(summary)
    stale = Summary.objects.get()
    summary.delete()
    operation.refresh_from_db()
    assert operation.state == State.CANCELLED
    with pytest.raises(ObjectGone):
        cancelled_with.enqueue(stale)
    with pytest.raises(ObjectGone):
        Lock(stale).acquire()
    summary.restore()
    with Lock(stale):
        pass
