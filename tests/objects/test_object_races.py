"""Enqueue, lock and cancel against delete, claim and save: both orders are forced, and the database decides."""

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from django.db import connection, transaction
from django.db.models.signals import pre_delete

from django_task_safety import ObjectGone, ObjectLocked
from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from tests.support.factories import ChapterFactory, FolderFactory, MachineFactory, PageFactory
from tests.support.racing import assert_waits, open_transaction
from tests.testapp import guarded_tasks as tasks
from tests.testapp.models import Folder, Machine, Page

State = Operation.State
pytestmark = pytest.mark.django_db(transaction=True)


page = partial(PageFactory, in_folder=True)


DELETES = {
    "instance": lambda obj: Page.objects.get(pk=obj.pk).delete(),
    "queryset": lambda obj: Page.objects.filter(pk=obj.pk).delete(),
    "cascade": lambda obj: Folder.objects.all().delete(),
}
ENQUEUES = {
    "protect": lambda obj: tasks.protects.enqueue(obj),
    "cancel": lambda obj: tasks.cancelled_with.enqueue(obj),
    "many": lambda obj: tasks.protects.enqueue_many([(obj,)]),
    "task lock": lambda obj: tasks.copies.enqueue(obj),
    "key": lambda obj: tasks.numbered.enqueue(obj, 1),
}


@pytest.mark.parametrize("delete", DELETES.values(), ids=DELETES)
@pytest.mark.parametrize("enqueue", ENQUEUES.values(), ids=ENQUEUES)
def test_an_enqueue_that_meets_an_uncommitted_delete_waits_and_finds_the_object_gone(in_thread, delete, enqueue):
    obj = page()
    with open_transaction(lambda: delete(obj)):
        late = in_thread(lambda: enqueue(obj))
        assert_waits(late)
    assert type(late.result(30)) is ObjectGone
    assert not Operation.objects.exists()


@pytest.mark.parametrize("enqueue", ENQUEUES.values(), ids=ENQUEUES)
def test_an_enqueue_that_meets_a_delete_that_is_rolled_back_goes_on(in_thread, enqueue):
    obj = page()
    with open_transaction(lambda: obj.__class__.objects.all().delete(), commit=False):
        late = in_thread(lambda: enqueue(obj))
        assert_waits(late)
    assert not isinstance(late.result(30), Exception)
    assert obj.operations.pending().count() == 1


@pytest.mark.parametrize("wrap", [lambda call: call, transaction.atomic], ids=["autocommit", "transaction"])
@pytest.mark.parametrize("delete", DELETES.values(), ids=DELETES)
@pytest.mark.parametrize("enqueue", [ENQUEUES["protect"], ENQUEUES["many"]], ids=["one", "many"])
def test_a_delete_that_meets_an_uncommitted_protecting_enqueue_waits_and_is_refused(in_thread, wrap, delete, enqueue):
    obj = page()
    with open_transaction(lambda: enqueue(obj)):
        late = in_thread(lambda: wrap(delete)(obj))
        assert_waits(late)
    assert type(late.result(30)) is ObjectLocked
    assert Page.objects.filter(pk=obj.pk).exists()


@pytest.mark.parametrize("delete", DELETES.values(), ids=DELETES)
def test_a_delete_that_meets_an_uncommitted_enqueue_waits_and_cancels_it(in_thread, delete):
    obj = page()
    with open_transaction(lambda: tasks.cancelled_with.enqueue(obj)):
        late = in_thread(lambda: delete(obj))
        assert_waits(late)
    assert not isinstance(late.result(30), Exception)
    assert Operation.objects.get().state == State.CANCELLED


def test_a_delete_that_is_refused_after_waiting_leaves_the_callers_transaction_usable(in_thread):
    obj = page()

    def deletes_and_goes_on():
        with transaction.atomic():
            with pytest.raises(ObjectLocked):
                Page.objects.filter(pk=obj.pk).delete()
            FolderFactory(name="still usable")

    with open_transaction(lambda: tasks.protects.enqueue(obj)):
        late = in_thread(deletes_and_goes_on)
        assert_waits(late)
    assert late.result(30) is None
    assert Folder.objects.filter(name="still usable").exists()


@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="SQLite has one writer at a time")
@pytest.mark.parametrize("make", [PageFactory, ChapterFactory])
def test_an_operation_enqueued_between_a_deletes_look_and_the_delete_is_seen(in_thread, make):
    """The first look found nothing; the operation is committed before the rows are deleted."""
    obj = make()
    model = type(obj)
    came = []

    def comes_in(**kwargs):
        if not came:
            came.append(in_thread(lambda: tasks.protects.enqueue(obj)).result(30))

    # Before the guards' own receiver, which comes first where it can.
    pre_delete.connect(comes_in, sender=model)
    receivers = pre_delete.receivers
    pre_delete.receivers = receivers[-1:] + receivers[:-1]
    pre_delete.sender_receivers_cache.clear()
    try:
        with pytest.raises(ObjectLocked) as refusal:
            obj.delete()
    finally:
        pre_delete.disconnect(comes_in, sender=model)
    assert refusal.value.operation == came[0]
    assert model.objects.filter(pk=obj.pk or came[0].subject_id).exists()


def test_a_lock_that_meets_an_uncommitted_delete_finds_the_object_gone(in_thread):
    machine = MachineFactory()
    with open_transaction(lambda: Machine.objects.all().delete()):
        late = in_thread(machine.lock().acquire)
        assert_waits(late)
    assert type(late.result(30)) is ObjectGone


@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="SQLite has one writer at a time")
def test_a_delete_that_meets_an_uncommitted_lock_is_refused_or_waits_for_it(in_thread):
    machine = MachineFactory()
    with open_transaction(lambda: machine.lock().acquire()):
        late = in_thread(Machine.objects.get().delete)
        assert_waits(late)
    assert type(late.result(30)) is ObjectLocked
    assert Machine.objects.exists()


def test_of_many_who_take_a_lock_at_once_one_gets_it():
    machine = MachineFactory()
    start = threading.Barrier(6)

    def take():
        try:
            connection.ensure_connection()
            start.wait(30)
            return machine.__class__.objects.get().lock(lease=60).acquire()
        except ObjectLocked as exc:
            return exc
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        outcomes = [future.result(60) for future in [pool.submit(take) for _ in range(6)]]
    taken = [one for one in outcomes if isinstance(one, Operation)]
    assert len(taken) == 1
    from django_task_safety.ledger.heartbeat import heartbeat

    heartbeat.stop(taken[0].pk)


def test_of_many_who_enqueue_a_task_with_a_lock_at_once_one_gets_it(worker):
    obj = page()
    start = threading.Barrier(6)

    def enqueue(n):
        try:
            connection.ensure_connection()
            start.wait(30)
            return tasks.copies.enqueue(obj, n)
        except ObjectLocked as exc:
            return exc
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        outcomes = [future.result(60) for future in [pool.submit(enqueue, n) for n in range(6)]]
    (winner,) = [one for one in outcomes if isinstance(one, Operation)]
    assert {refusal.operation for refusal in outcomes if refusal is not winner} == {winner}


def test_a_running_task_whose_object_is_deleted_meanwhile_cannot_commit(worker, in_thread):
    obj = page()
    operation = tasks.runs_actions.enqueue(obj)
    deleted = []

    def rival():
        if connection.vendor == "sqlite":
            # One writer: the delete comes after the attempt.
            return
        deleted.append(in_thread(Page.objects.get(pk=obj.pk).delete).result(30))

    tasks.DURING_BODY.append(rival)
    try:
        worker.deliver_one()
    finally:
        tasks.DURING_BODY.clear()
    operation.refresh_from_db()
    if deleted:
        assert not isinstance(deleted[0], Exception)
        assert operation.state == State.CANCELLED
        assert not Folder.objects.filter(name="effect").exists()
    else:
        assert operation.state == State.SUCCEEDED


def test_a_delete_that_meets_an_uncommitted_claims_body_decides_either_way(worker, in_thread):
    """The body has written the object: the delete waits for it, and finds the operation ended."""
    obj = page()
    operation = tasks.touches.enqueue(obj)
    late = []
    tasks.DURING_BODY.append(lambda: late.append(in_thread(Page.objects.get(pk=obj.pk).delete)))
    try:
        worker.deliver_one()
    finally:
        tasks.DURING_BODY.clear()
    assert not isinstance(late[0].result(30), Exception)
    operation.refresh_from_db()
    assert operation.state == State.SUCCEEDED
    assert not Page.objects.exists()


def test_cancelling_and_claiming_at_once_ends_one_way_or_the_other(worker, in_thread):
    for _ in range(10):
        obj = page()
        operation = tasks.cancelled_with.enqueue(obj)
        deleting = in_thread(Page.objects.get(pk=obj.pk).delete)
        worker.drain()
        assert not isinstance(deleting.result(30), Exception)
        sweeper.sweep()
        worker.drain()
        operation.refresh_from_db()
        assert operation.state in (State.SUCCEEDED, State.CANCELLED)
        assert not Page.objects.filter(pk=obj.pk).exists()


def test_many_deletes_and_enqueues_at_once_leave_no_protected_object_deleted(worker):
    pages = [page() for _ in range(12)]
    start = threading.Barrier(2)

    def deletes():
        connection.ensure_connection()
        start.wait(30)
        for one in pages:
            try:
                Page.objects.filter(pk=one.pk).delete()
            except ObjectLocked:
                continue
        connection.close()

    def enqueues():
        connection.ensure_connection()
        start.wait(30)
        for one in pages:
            try:
                tasks.protects.enqueue(one)
            except ObjectGone:
                continue
        connection.close()

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(deletes), pool.submit(enqueues)]:
            future.result(60)
    left = {str(pk) for pk in Page.objects.values_list("pk", flat=True)}
    assert set(Operation.objects.pending().values_list("subject_id", flat=True)) == left
