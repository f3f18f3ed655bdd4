"""Objects in another database than the operations: the same policies, applied after that database's commit."""

import pytest
from django.db import transaction

from django_task_safety import ObjectGone, ObjectLocked
from django_task_safety.models import Operation
from tests.notesapp.models import Note
from tests.testapp import guarded_tasks as tasks
from tests.testapp.models import Machine, Page

State = Operation.State
pytestmark = pytest.mark.django_db(databases=["default", "other"], transaction=True)


@pytest.fixture
def page():
    return Page.objects.using("other").create(title="elsewhere")


def state(operation):
    return Operation.objects.get(pk=operation.pk).state


def test_deleting_an_object_cancels_its_operations(page):
    operation = tasks.cancelled_with.enqueue(page)
    assert list(page.operations.pending()) == [operation]
    page.delete()
    assert state(operation) == State.CANCELLED


def test_they_are_cancelled_when_the_other_database_has_committed(page):
    operation = tasks.cancelled_with.enqueue(page)
    with transaction.atomic(using="other"):
        Page.objects.using("other").all().delete()
        assert state(operation) == State.QUEUED
    assert state(operation) == State.CANCELLED


def test_a_delete_that_is_rolled_back_there_cancels_nothing(page):
    operation = tasks.cancelled_with.enqueue(page)
    with transaction.atomic(using="other"):
        page.delete()
        transaction.set_rollback(True, using="other")
    assert state(operation) == State.QUEUED


def test_what_protects_and_what_holds_a_lock_refuses(page):
    tasks.protects.enqueue(page)
    with transaction.atomic(using="other"):
        with pytest.raises(ObjectLocked):
            page.delete()
        page.title = "usable"
        page.save()
    machine = Machine.objects.using("other").create(name="m")
    with machine.lock():
        assert machine.is_locked()
        with pytest.raises(ObjectLocked):
            Machine.objects.using("other").get().delete()
        with pytest.raises(ObjectLocked):
            machine.lock().acquire()


def test_what_is_gone_there_is_not_enqueued_for(page):
    stale = Page.objects.using("other").get()
    page.delete()
    with pytest.raises(ObjectGone):
        tasks.protects.enqueue(stale)
    assert not Operation.objects.filter(task=tasks.protects.name).exists()


def test_a_soft_delete_there_follows_the_policies():
    note = Note.objects.using("other").create(title="a")
    cancelled, kept = tasks.cancelled_with.enqueue(note), tasks.keeps.enqueue(note)
    note.delete()
    assert (state(cancelled), state(kept)) == (State.CANCELLED, State.QUEUED)
    assert note.restore()[0] == 1
    protecting = tasks.protects.enqueue(note)
    with pytest.raises(ObjectLocked):
        note.delete()
    protecting.cancel()
    note.delete()
    stale = Note.all_objects.using("other").get()
    assert stale.is_removed


def test_a_stale_save_there_resurrects_nothing(page):
    stale = Page.objects.using("other").get()
    page.delete()
    stale.title = "back"
    with pytest.raises(ObjectGone):
        stale.save()
    assert not Page.objects.using("other").exists()
