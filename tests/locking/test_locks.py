"""Locks on objects: by blocks of code and by tasks."""

import copy
import os
import pickle
import threading
import time
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models.deletion import ProtectedError

from django_task_safety import (
    InvalidArguments,
    InvalidOption,
    LockLost,
    ObjectGone,
    ObjectLocked,
    TaskSafetyError,
    lock_all,
)
from django_task_safety.ledger.heartbeat import heartbeat
from django_task_safety.models import Operation
from django_task_safety.objects import conflicts
from django_task_safety.worker import sweeper
from tests.support.factories import MachineFactory, PageFactory, VaultFactory
from tests.support.workers import until
from tests.testapp import guarded_tasks as tasks
from tests.testapp.models import Machine, Vault

State = Operation.State
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def machine():
    yield MachineFactory()
    # Some tests leave locks behind, as a process does that goes on: nobody renews them any more.
    for pk in Operation.objects.filter(task=conflicts.LOCK).values_list("pk", flat=True):
        heartbeat.stop(pk)


def again(machine):
    return Machine.objects.get(pk=machine.pk)


def elsewhere(call):
    """Run a call in another thread, with a connection of its own, and return what it returned or raised."""
    outcome = []

    def run():
        try:
            outcome.append(call())
        except Exception as exc:
            outcome.append(exc)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    assert outcome, "it waits"
    return outcome[0]


def lapse(operation):
    """Let a lease run out, as if its process had died."""
    heartbeat.stop(operation.pk)
    Operation.objects.filter(pk=operation.pk).update(due_at=operation.started_at)


def test_a_lock_excludes_others_and_names_its_holder(machine):
    with machine.lock("import") as holder:
        assert machine.is_locked()
        assert machine.is_locked("import")
        assert not machine.is_locked("export")
        refusal = elsewhere(again(machine).lock("import").acquire)
        with machine.lock("export"), MachineFactory().lock("import"):
            pass
    assert type(refusal) is ObjectLocked
    assert refusal.operation == holder
    assert refusal.protected_objects == {holder}
    for said in ("testapp.machine", "'import'", "since", "until", holder.worker, str(holder.pk)):
        assert said in str(refusal)
    assert not machine.is_locked()
    with again(machine).lock("import"):
        pass


def test_acquiring_a_lock_and_releasing_it_are_one_statement_each(machine, django_assert_num_queries):
    with transaction.atomic():
        lock = machine.lock()
        with django_assert_num_queries(1):
            lock.acquire()
        with django_assert_num_queries(1):
            lock.release()


def test_a_lock_is_an_operation_on_the_object(machine):
    with machine.lock("import") as operation:
        assert list(machine.operations.pending()) == [operation]
        assert operation.state == State.RUNNING
    assert machine.operations.get().state == State.SUCCEEDED


def test_a_locked_object_cannot_be_deleted_not_even_by_the_holder(machine):
    with machine.lock():
        with pytest.raises(ProtectedError):
            machine.delete()
        with transaction.atomic(), pytest.raises(ObjectLocked):
            Machine.objects.all().delete()
        assert type(elsewhere(again(machine).delete)) is ObjectLocked
    machine.delete()
    assert not Machine.objects.exists()


def test_two_locks_of_the_same_name_on_one_object_do_not_nest(machine):
    with machine.lock(), pytest.raises(ObjectLocked), machine.lock():
        pass
    assert not machine.is_locked()


def test_a_lock_is_waited_for_as_long_as_the_caller_says(machine):
    holder = machine.lock().acquire()
    began = time.monotonic()
    refusal = elsewhere(again(machine).lock(wait=0.3).acquire)
    assert type(refusal) is ObjectLocked
    assert time.monotonic() - began >= 0.3
    waiting = threading.Thread(
        target=lambda: (taken.append(again(machine).lock(wait=20).acquire()), connection.close())
    )
    taken = []
    waiting.start()
    assert Operation.objects.filter(pk=holder.pk).cancel() == 1
    waiting.join(20)
    assert taken[0].pk != holder.pk


def test_the_lock_of_a_dead_process_ends_with_its_lease(machine):
    dead = machine.lock().acquire()
    lapse(dead)
    assert not machine.is_locked()
    with again(machine).lock():
        pass
    dead.refresh_from_db()
    assert dead.state == State.FAILED
    assert "lease" in dead.error


def test_an_object_with_a_lapsed_lock_can_be_deleted(machine):
    lapse(machine.lock().acquire())
    machine.delete()
    assert not Machine.objects.exists()


def test_the_sweeper_ends_lapsed_locks(machine):
    dead = machine.lock().acquire()
    lapse(dead)
    sweeper.sweep()
    dead.refresh_from_db()
    assert dead.state == State.FAILED
    assert dead.retry() is False


def test_a_living_lock_is_renewed_beyond_its_lease(machine):
    with machine.lock(lease=0.6) as operation:
        first = Operation.objects.get(pk=operation.pk).due_at
        end = time.monotonic() + 20
        while Operation.objects.get(pk=operation.pk).due_at < first + timedelta(seconds=1.2):
            assert time.monotonic() < end
            time.sleep(0.05)
        assert type(elsewhere(again(machine).lock().acquire)) is ObjectLocked


def test_releasing_a_lost_lock_raises_and_leaves_it_to_its_new_holder(machine):
    lost = machine.lock()
    lapse(lost.acquire())
    with again(machine).lock() as other:
        with pytest.raises(LockLost):
            lost.release()
        other.refresh_from_db()
        assert other.state == State.RUNNING
    with pytest.raises(LockLost), machine.lock() as operation:
        operation.cancel()


def test_a_lost_lock_does_not_hide_the_blocks_own_error(machine):
    def broken():
        with machine.lock() as operation:
            operation.cancel()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()


def test_releasing_a_lock_twice_is_an_error(machine):
    lock = machine.lock()
    lock.acquire()
    with pytest.raises(TaskSafetyError, match="already held"):
        lock.acquire()
    lock.release()
    with pytest.raises(TaskSafetyError, match="released before"):
        lock.release()


def test_a_lock_in_a_transaction_that_rolls_back_was_never_there(machine):
    with transaction.atomic():
        machine.lock().acquire()
        transaction.set_rollback(True)
    assert not machine.is_locked()
    assert not Operation.objects.exists()


@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="SQLite has one writer at a time")
def test_a_lock_in_an_open_transaction_refuses_others_at_once(machine):
    other = again(machine)
    with transaction.atomic(), machine.lock():
        began = time.monotonic()
        refusal = elsewhere(other.lock().acquire)
        assert type(refusal) is ObjectLocked
        assert "not committed" in str(refusal)
        assert time.monotonic() - began < 5
    with other.lock():
        pass


@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="SQLite has one writer at a time")
def test_whoever_writes_the_objects_row_does_not_hold_up_a_lock(machine):
    if connection.vendor == "mysql":
        pytest.skip("InnoDB has no lock as weak as PostgreSQL's KEY SHARE: the writer is waited for")
    with transaction.atomic():
        Machine.objects.update(name="written")
        assert isinstance(elsewhere(MachineFactory().lock().acquire), Operation | ObjectGone)
        assert isinstance(elsewhere(machine.lock().acquire), Operation)


@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="SQLite has one writer at a time")
def test_a_held_lock_refuses_others_at_once_while_the_objects_row_is_written(machine):
    other = again(machine)
    with machine.lock(), transaction.atomic():
        Machine.objects.update(name="written")
        began = time.monotonic()
        assert type(elsewhere(other.lock().acquire)) is ObjectLocked
        assert type(elsewhere(other.delete)) is ObjectLocked
        assert time.monotonic() - began < 5


def test_a_task_holds_its_lock_from_enqueue_to_the_end(machine, worker):
    operation = tasks.copies.enqueue(machine)
    assert machine.is_locked("copy")
    with pytest.raises(ObjectLocked) as refusal:
        tasks.copies.delay(machine)
    assert refusal.value.operation == operation
    with pytest.raises(ObjectLocked), machine.lock("copy"):
        pass
    with pytest.raises(ObjectLocked):
        tasks.copies.enqueue_many([(machine,), (MachineFactory(),)])
    assert Operation.objects.count() == 1
    tasks.copies.enqueue(MachineFactory())
    worker.drain()
    assert not machine.is_locked()
    assert tasks.copies.enqueue(machine).state == State.QUEUED


def test_a_task_cannot_be_enqueued_while_code_holds_the_lock(machine):
    with machine.lock("copy") as holder, pytest.raises(ObjectLocked) as refusal:
        tasks.copies.delay(machine)
    assert refusal.value.operation == holder


@pytest.mark.parametrize("end", ["cancel", "fail", "delete"])
def test_however_a_task_ends_its_lock_is_released(machine, worker, end):
    operation = (tasks.fails_locked if end == "fail" else tasks.copies).enqueue(machine)
    if end == "cancel":
        operation.cancel()
    worker.drain()
    assert not machine.is_locked()
    assert Operation.objects.get().lock_slot is None


def test_a_task_keeps_its_lock_across_retries(machine, worker):
    operation = tasks.fails_locked.enqueue(machine)
    worker.deliver_one()
    assert Operation.objects.get(pk=operation.pk).state == State.QUEUED
    with pytest.raises(ObjectLocked):
        tasks.copies.enqueue(machine)


def test_a_task_that_holds_a_lock_follows_its_own_on_delete(machine):
    operation = tasks.copies.enqueue(machine)
    machine.delete()
    operation.refresh_from_db()
    assert operation.state == State.CANCELLED


def test_a_duplicate_of_a_task_that_holds_the_lock_is_a_duplicate(machine, worker):
    first = tasks.numbered.enqueue(machine, 1)
    assert tasks.numbered.enqueue(machine, 1) == first
    with pytest.raises(ObjectLocked):
        tasks.numbered.enqueue(machine, 2)
    worker.drain()
    with machine.lock("copy"), pytest.raises(ObjectLocked):
        tasks.numbered.enqueue(machine, 1)
    first.refresh_from_db()
    assert first.state == State.SUCCEEDED
    with machine.lock("copy"), transaction.atomic():
        # A caller's transaction goes on after the refusal.
        with pytest.raises(ObjectLocked):
            tasks.numbered.enqueue(machine, 1)
        PageFactory(title="still usable")
    assert tasks.numbered.enqueue(machine, 1) == first
    assert machine.is_locked("copy")


def test_retrying_an_operation_takes_its_lock_again_or_says_who_has_it(machine):
    operation = tasks.copies.enqueue(machine)
    operation.cancel()
    with machine.lock("copy"), pytest.raises(ObjectLocked):
        operation.retry()
    assert operation.retry() is True
    assert machine.is_locked("copy")


def test_retrying_an_operation_whose_object_is_gone_says_so(machine):
    operation = tasks.copies.enqueue(machine)
    machine.delete()
    operation.refresh_from_db()
    with pytest.raises(ObjectGone):
        operation.retry()


def test_a_task_with_a_lock_needs_an_object():
    with pytest.raises(InvalidArguments, match="model instance"):
        tasks.copies.delay("no object")


def test_a_message_without_a_row_that_meets_a_lock_fails_with_the_reason(machine, worker):
    message_of = tasks.copies.app
    with machine.lock("copy"):
        from django_task_safety.values import references

        message_of.send_task(tasks.copies.name, [references.dump(machine)])
        worker.deliver_one()
    failed = Operation.objects.get(task=tasks.copies.name)
    assert failed.state == State.FAILED
    assert "ObjectLocked" in failed.error


def test_lock_all_locks_many_objects_or_none_of_them(machine):
    others = MachineFactory.create_batch(3)
    with lock_all([*others, machine, others[0]], "move") as operations:
        assert len(operations) == 4
        assert all(one.is_locked("move") for one in [*others, machine])
    assert not any(one.is_locked() for one in others)
    with others[2].lock("move"), pytest.raises(ObjectLocked), lock_all([machine, *others], "move"):
        pass
    assert not any(one.is_locked() for one in others)
    with lock_all([]) as nothing:
        assert nothing == []


def test_callers_that_lock_the_same_objects_in_another_order_do_not_deadlock(machine):
    second = MachineFactory()
    done = []

    def many(objects):
        for _ in range(10):
            with lock_all(objects, wait=30):
                done.append(1)
        connection.close()

    threads = [threading.Thread(target=many, args=[order]) for order in ([machine, second], [second, machine])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(done) == 20


@pytest.mark.skipif("config.getoption('db') != 'mariadb'", reason="elsewhere TRUNCATE does not commit")
@pytest.mark.parametrize("first", ["lock", "transaction"])
def test_only_a_lock_that_is_taken_before_a_transaction_ends_where_a_statement_commits_that(machine, first):
    blocks = [machine.lock(), transaction.atomic()]
    with suppress(ConnectionError), ExitStack() as stack:
        for block in blocks if first == "lock" else reversed(blocks):
            stack.enter_context(block)
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE testapp_effect")
        raise ConnectionError
    assert machine.is_locked() == (first == "transaction")
    machine.operations.pending().cancel()
    with machine.lock():
        pass


@pytest.mark.parametrize(
    "values",
    [
        *({"lease": 0}, {"lease": -1}, {"lease": "long"}, {"wait": -1}),
        *({"name": ""}, {"name": 3}, {"name": "x" * 256}, {"name": "a\0b"}),
    ],
)
def test_a_lock_that_cannot_work_is_refused(machine, values):
    with pytest.raises(InvalidOption):
        machine.lock(**values)


def test_locking_an_object_that_is_not_there_is_refused(machine):
    with pytest.raises(InvalidArguments, match="never saved"), Machine(name="new").lock():
        pass
    stale = again(machine)
    machine.delete()
    with pytest.raises(ObjectGone), stale.lock():
        pass


def test_a_locked_object_can_be_saved_by_others_unless_its_model_says_otherwise(machine):
    with machine.lock():
        assert elsewhere(again(machine).save) is None
        assert elsewhere(lambda: Machine.objects.update(name="b")) == 1


def test_a_model_may_say_that_nobody_saves_a_locked_object():
    vault, free = VaultFactory.create_batch(2)
    stale = Vault.objects.get(pk=vault.pk)
    stale.name = "stale"
    with vault.lock() as holder:
        for attempt in (
            stale.save,
            lambda: Vault.objects.update(name="all"),
            lambda: Vault.objects.bulk_update([stale], ["name"]),
            lambda: Vault(pk=vault.pk, name="by hand").save(),
            lambda: Vault(pk=vault.pk, name="by hand").save(force_update=True),
        ):
            refusal = elsewhere(attempt)
            assert type(refusal) is ObjectLocked
            assert refusal.operation == holder
        free.save()
        # The holder may.
        vault.name = "holder"
        vault.save()
        assert Vault.objects.filter(name="holder").update(name="held") == 1
    stale.save()
    assert Vault.objects.get(pk=vault.pk).name == "stale"


def test_a_task_may_save_the_object_that_it_locks(worker):
    vault = VaultFactory()
    tasks.renames.delay(vault)
    with pytest.raises(ObjectLocked):
        vault.save()
    with transaction.atomic():
        with pytest.raises(ObjectLocked):
            Vault.objects.update(name="b")
        PageFactory(title="the transaction goes on")
    worker.drain()
    vault.refresh_from_db()
    assert vault.name == "renamed"


def test_a_lock_taken_in_a_long_transaction_is_held_after_its_commit(machine):
    lock = machine.lock(lease=2)
    with transaction.atomic():
        lock.acquire()
        # Not a synchronisation: the lease has its time.
        time.sleep(2.1)
    assert machine.is_locked()
    assert type(elsewhere(again(machine).lock().acquire)) is ObjectLocked
    due = Operation.objects.get(pk=lock.operation.pk).due_at
    assert due < datetime.now(UTC) + timedelta(seconds=60)
    lock.release()


def test_a_lock_that_is_released_before_the_commit_is_not_renewed_for_ever(machine):
    with transaction.atomic(), machine.lock():
        pass
    assert heartbeat._held == {}


def test_a_lock_that_was_ended_by_others_is_not_renewed_for_ever(machine):
    lost = machine.lock(lease=0.3).acquire()
    lost.cancel()
    until(lambda: lost.pk not in heartbeat._held)
    assert Operation.objects.get(pk=lost.pk).state == State.CANCELLED


def test_errors_about_operations_survive_pickling_and_copying(machine):
    with machine.lock() as holder:
        refusal = elsewhere(again(machine).lock().acquire)
    for other in (pickle.loads(pickle.dumps(refusal)), copy.copy(refusal), copy.deepcopy(refusal)):
        assert type(other) is ObjectLocked
        assert str(other) == str(refusal)
        assert other.operation == holder
        assert other.protected_objects == {holder}


@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="SQLite has one writer at a time")
def test_a_held_lock_refuses_others_at_once_while_the_objects_row_is_locked_for_update(machine):
    other = again(machine)
    with machine.lock(), transaction.atomic():
        Machine.objects.select_for_update().get(pk=machine.pk)
        assert type(elsewhere(other.lock().acquire)) is ObjectLocked
    task = tasks.copies.enqueue(machine)
    with transaction.atomic():
        Machine.objects.select_for_update().get(pk=machine.pk)
        refusal = elsewhere(lambda: tasks.copies.enqueue(machine))
        assert type(refusal) is ObjectLocked
        assert refusal.operation == task


def test_an_update_of_a_queryset_of_values_is_refused_for_a_locked_object_too():
    vault = VaultFactory()
    assert Vault.objects.values("name").update(name="b") == 1
    with vault.lock():
        assert type(elsewhere(lambda: Vault.objects.values_list("name").update(name="c"))) is ObjectLocked
    assert Vault.objects.get().name == "b"


def test_an_update_of_no_rows_is_not_refused():
    assert Vault.objects.none().update(name="b") == 0
    assert Vault.objects.filter(name="nobody").update(name="b") == 0


@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="SQLite's connections do not survive a fork")
def test_a_child_that_is_forked_inside_the_block_leaves_the_lock_to_its_parent(machine):
    lock = machine.lock()
    lock.acquire()
    child = os.fork()
    if not child:
        try:
            lock.release()
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert machine.is_locked()
    lock.release()
    assert not machine.is_locked()


def test_a_lock_that_cannot_be_released_ends_with_its_lease(machine, monkeypatch):
    def away(*args, **kwargs):
        raise OperationalError("the server closed the connection")

    with pytest.raises(OperationalError), machine.lock(lease=0.6):
        monkeypatch.setattr("django_task_safety.locking.lock_rows.ledger.finish", away)
    monkeypatch.undo()
    assert heartbeat._held == {}
    with again(machine).lock(wait=10):
        pass
