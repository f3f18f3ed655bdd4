"""Objects in another database than the operations: the same policies, applied after that database's commit."""

import pytest
from django.db import transaction
from django.db.models import Count, prefetch_related_objects

from django_task_safety import ObjectGone, ObjectLocked, idempotent_task, lock_all
from django_task_safety.models import Operation
from tests.notesapp.models import Note
from tests.support.operations import state
from tests.testapp import guarded_tasks as tasks
from tests.testapp.models import Machine, Page

State = Operation.State
pytestmark = pytest.mark.django_db(databases=["default", "other"], transaction=True)


@idempotent_task
def renamed(machine):
    machine.name += "!"
    machine.save()


@pytest.fixture
def page():
    return Page.objects.using("other").create(title="elsewhere")


def test_deleting_an_object_in_another_database_cancels_its_operations(page):
    operation = tasks.cancelled_with.enqueue(page)
    assert list(page.operations.pending()) == [operation]
    page.delete()
    assert state(operation) == State.CANCELLED


def test_operations_are_cancelled_when_the_objects_other_database_has_committed(page):
    operation = tasks.cancelled_with.enqueue(page)
    with transaction.atomic(using="other"):
        Page.objects.using("other").all().delete()
        assert state(operation) == State.QUEUED
    assert state(operation) == State.CANCELLED


def test_a_delete_in_another_database_that_is_rolled_back_cancels_nothing(page):
    operation = tasks.cancelled_with.enqueue(page)
    with transaction.atomic(using="other"):
        page.delete()
        transaction.set_rollback(True, using="other")
    assert state(operation) == State.QUEUED


def test_operations_and_locks_protect_an_object_in_another_database(page):
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


def test_an_object_that_is_gone_from_another_database_takes_no_operations(page):
    stale = Page.objects.using("other").get()
    page.delete()
    with pytest.raises(ObjectGone):
        tasks.protects.enqueue(stale)
    assert not Operation.objects.filter(task=tasks.protects.name).exists()


def test_a_soft_delete_in_another_database_follows_the_tasks_on_delete():
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


def test_a_stale_save_in_another_database_resurrects_nothing(page):
    stale = Page.objects.using("other").get()
    page.delete()
    stale.title = "back"
    with pytest.raises(ObjectGone):
        stale.save()
    assert not Page.objects.using("other").exists()


@pytest.fixture
def twins():
    """Two objects with the same primary key, in two databases."""
    made = [Machine.objects.using(alias).create(pk=7, name=alias) for alias in ("default", "other")]
    assert made[0].pk == made[1].pk
    return made


@pytest.mark.parametrize("protected", [0, 1])
def test_equal_keys_in_two_databases_are_two_objects_for_a_delete(twins, protected):
    mine, other = twins[protected], twins[1 - protected]
    protecting, kept = tasks.protects.enqueue(mine), tasks.cancelled_with.enqueue(mine)
    cancelled = tasks.cancelled_with.enqueue(other)
    with pytest.raises(ObjectLocked):
        type(mine).objects.using(mine._state.db).all().delete()
    other.delete()
    assert [state(one) for one in (protecting, kept, cancelled)] == [State.QUEUED, State.QUEUED, State.CANCELLED]


@pytest.mark.parametrize("protected", [0, 1])
def test_a_delete_in_another_database_than_the_objects_own_is_of_the_other_object(twins, protected):
    tasks.protects.enqueue(twins[protected])
    other = twins[1 - protected]
    twins[protected].delete(using=other._state.db)
    assert not Machine.objects.using(other._state.db).exists()
    with pytest.raises(ObjectLocked):
        Machine(pk=7).delete(using=twins[protected]._state.db)


def test_equal_keys_in_two_databases_are_two_objects_for_locks(twins):
    here, there = twins
    with here.lock() as one:
        assert here.is_locked()
        assert not there.is_locked()
        with there.lock() as two, pytest.raises(ObjectLocked, match=r"testapp\.machine 7 in the database 'other'"):
            Machine.objects.using("other").get().lock().acquire()
    assert one != two
    with lock_all(twins) as held:
        assert len(held) == 2
    assert tasks.copies.enqueue(here) != tasks.copies.enqueue(there)


def test_equal_keys_in_two_databases_are_two_objects_for_keys_and_a_task_gets_the_one_that_was_passed(twins, worker):
    operations = [renamed.enqueue(one) for one in twins]
    worker.drain()
    assert [Machine.objects.using(alias).get().name for alias in ("default", "other")] == ["default!", "other!"]
    assert [renamed.enqueue(one) for one in twins] == operations
    assert [one.subject for one in operations] == twins
    assert [one.subject._state.db for one in operations] == ["default", "other"]


def test_equal_keys_in_two_databases_are_two_objects_with_their_own_operations(twins, django_assert_num_queries):
    operations = [tasks.cancelled_with.enqueue(one) for one in twins]
    for one, operation in zip(twins, operations, strict=True):
        assert list(one.operations.all()) == list(Operation.objects.for_object(one)) == [operation]
    with django_assert_num_queries(1):
        prefetch_related_objects(twins, "operations")
    assert [list(one.operations.all()) for one in twins] == [[one] for one in operations]
    counted = Machine.objects.annotate(n=Count("operations")).get()
    assert (counted.n, counted._state.db) == (1, "default")
    operations[0].cancel()
    assert not Machine.objects.filter(operations__state=State.QUEUED).exists()
    assert not Machine.objects.exclude(operations__state=State.CANCELLED).exists()


def test_an_operation_of_a_database_that_is_not_there_any_more_has_no_object(page):
    operation = tasks.cancelled_with.enqueue(page)
    Operation.objects.update(subject_database="forgotten")
    assert Operation.objects.get(pk=operation.pk).subject is None
