"""Somebody's open transaction holds an operation's row: neither a worker nor the leases of others wait for its end."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest
from celery.exceptions import Reject
from django.db import connection, transaction
from django.utils import timezone
from kombu import Producer

from django_task_safety import idempotent_task, ledger, safe_task, split
from django_task_safety.ledger import heartbeat, schedule, table, worker_id
from django_task_safety.models import Operation, Worker
from django_task_safety.producer import outbox
from django_task_safety.worker import hooks, poison, recovery, sweeper
from django_task_safety.worker.presence import Presence
from django_task_safety.worker.recovery import LossOutcome
from django_task_safety.worker.request import SafeRequest, _settle_time_limit
from django_task_safety.worker.swept import Swept
from tests.support.factories import OrderFactory, WorkerFactory
from tests.support.operations import state
from tests.support.racing import in_transaction, open_transaction
from tests.support.workers import until
from tests.testapp.models import Order
from tests.testapp.tasks import double, record

State = Operation.State
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("sqlite" in connection.vendor, reason="SQLite has one writer, and no locks of rows"),
]


@idempotent_task(key="key")
def once(key: str) -> str:
    return key


@safe_task(max_retries=0)
def only_once() -> None:
    pass


@safe_task
def part(pks: list[int]) -> None:
    pass


def by_cancel(operation: Operation) -> None:
    Operation.objects.get(pk=operation.pk).cancel()


def by_duplicate(operation: Operation) -> None:
    """On MariaDB a mere duplicate locks the row."""
    once.enqueue(operation.key.strip("'\""))


def by_lock(operation: Operation) -> None:
    assert table.locked(table.by_id(operation.pk))


#: How a stranger holds a row.
HOLDS: list[Callable[[Operation], None]] = [by_cancel, by_duplicate, by_lock]


def running(operation: Operation, lease: float = 30.0) -> Operation:
    seen = ledger.claim(operation.pk, worker_id.me(), lease, None)
    assert seen is not None
    assert seen.claimed
    return Operation.objects.get(pk=operation.pk)


def ends(operation: Operation):
    return Operation.objects.get(pk=operation.pk).lease_expires_at


@pytest.mark.parametrize("hold", HOLDS)
def test_a_held_row_costs_no_other_operation_its_lease(worker, hold):
    held, innocent = running(once.enqueue("held")), running(once.enqueue("innocent"))
    with open_transaction(partial(hold, held), commit=False):
        renewal = heartbeat.renew([held.pk, innocent.pk], 300.0)
        assert renewal.ended == ()
        assert ends(innocent) > innocent.lease_expires_at
        if hold is not by_duplicate or connection.vendor == "mysql":
            assert ends(held) == held.lease_expires_at
            # It is tried again soon.
            assert renewal.next_in == 1.0
    assert heartbeat.renew([held.pk, innocent.pk], 300.0).next_in == 100.0
    assert ends(held) > held.lease_expires_at


def test_a_lease_is_renewed_that_ran_out_while_its_row_was_held(worker):
    held = running(once.enqueue("held"))
    with open_transaction(partial(by_lock, held)):
        assert heartbeat.renew([held.pk], 30.0).next_in == 1.0
        # The sweeper leaves it alone as well.
        assert not sweeper.sweep()
    worker.pass_time(60)
    assert schedule.renew([held.pk], worker_id.me(), 30.0) == 1
    assert not sweeper.sweep()
    assert state(held) == State.RUNNING


def test_what_does_not_run_any_more_is_not_renewed_again(worker):
    ended, runs = running(once.enqueue("ended")), running(once.enqueue("runs"))
    by_cancel(ended)
    renewal = heartbeat.renew([ended.pk, runs.pk], 30.0)
    assert (renewal.ended, renewal.next_in) == ((ended.pk,), 10.0)


def test_a_message_whose_row_is_held_comes_back_and_frees_its_slot(worker):
    operation = record.enqueue("a")
    message = worker.take_one()
    with open_transaction(partial(by_lock, operation)):
        began = time.monotonic()
        assert worker.deliver(message).state == "IGNORED"
        waited = time.monotonic() - began
        comes_back = worker.take_one()
    # The statement gave up by itself, and not at the end of the stranger's transaction.
    assert waited < 20
    assert comes_back.headers["eta"] is not None
    worker.deliver(comes_back)
    assert state(operation) == State.SUCCEEDED
    assert Operation.objects.get(pk=operation.pk).attempt == 1


def test_a_claim_in_a_callers_transaction_leaves_it_its_own_patience(worker):
    operation = record.enqueue("a")
    setting = "lock_timeout" if connection.vendor == "postgresql" else "innodb_lock_wait_timeout"
    show = f"SHOW {setting}" if connection.vendor == "postgresql" else f"SELECT @@{setting}"

    def patience():
        with connection.cursor() as cursor:
            cursor.execute(show)
            return cursor.fetchone()[0]

    before = patience()
    with transaction.atomic():
        assert ledger.claim(operation.pk, "eager", 30.0, None).claimed
        assert patience() == before
    assert patience() == before
    other = record.enqueue("b")
    assert ledger.claim(other.pk, "worker", 30.0, None).claimed
    assert patience() == before


@pytest.mark.parametrize("task", [record, only_once], ids=["with attempts left", "in its last attempt"])
def test_the_main_loop_does_not_wait_for_the_row_of_a_child_that_died(worker, task):
    operation = running(task.enqueue(*(["a"] if task is record else [])))
    worker.take()
    with open_transaction(partial(by_lock, operation)):
        assert recovery.worker_lost(operation.pk, RuntimeError("killed")) is LossOutcome.NOT_OURS
        assert state(operation) == State.RUNNING
    # Its lease runs out, and then it is as if nobody had noticed.
    worker.pass_time(60)
    sweeper.sweep()
    assert state(operation) == (State.QUEUED if task is record else State.FAILED)


def test_the_main_loop_does_not_wait_to_note_a_revoke_and_does_not_forget_it(worker):
    operation = record.enqueue("a")
    message = worker.take_one()
    with open_transaction(partial(by_lock, operation)):
        request = SafeRequest(
            message, app=worker.app, task=record, body=message.body, headers=message.headers, hostname="w@tests"
        )
        request._announce_revoked("revoked", False, None, False)
        assert state(operation) == State.QUEUED
    until(lambda: state(operation) == State.CANCELLED)


def test_a_hard_time_limit_is_noted_when_the_killed_child_lets_go_of_the_row(worker):
    operation = running(only_once.enqueue())
    with open_transaction(partial(by_lock, operation), commit=False):
        noted = threading.Thread(target=_settle_time_limit, args=(operation.pk, 1.0))
        noted.start()
        assert state(operation) == State.RUNNING
    noted.join(30)
    assert state(operation) == State.FAILED


def test_a_sweep_does_not_wait_for_an_ended_row_that_somebody_holds(worker):
    held, free = record.enqueue("a"), record.enqueue("b")
    for operation in (held, free):
        by_cancel(operation)
    with open_transaction(partial(by_lock, held)):
        assert sweeper.sweep().notified == 1
    assert sweeper.sweep().notified == 1


def test_an_expired_message_whose_row_is_held_comes_back_and_frees_its_slot(worker, in_thread):
    operation = record.enqueue("a")
    Operation.objects.filter(pk=operation.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    message = worker.take_one()
    with open_transaction(partial(by_lock, operation)):
        assert in_thread(partial(worker.deliver, message)).result(10).state == "IGNORED"
        comes_back = worker.take_one()
    worker.deliver(comes_back)
    assert state(operation) == State.CANCELLED


def test_a_broker_that_refuses_keeps_nobody_waiting_for_a_held_row(worker, in_thread, monkeypatch):
    def refuse(*args: object, **kwargs: object) -> None:
        raise ConnectionError("down")

    held, free = record.enqueue("a"), record.enqueue("b")
    monkeypatch.setattr(Producer, "publish", refuse)
    monkeypatch.setattr(outbox, "PAUSE", 0.0)
    looked_at = Operation.objects.in_bulk([held.pk, free.pk])
    with open_transaction(partial(by_lock, held)):
        publish = partial(outbox.publish_rows, looked_at.values())
        assert in_thread(publish).result(10).sent == []
        # It comes forward, as the held one would.
        assert Operation.objects.get(pk=free.pk).due_at < looked_at[free.pk].due_at
    assert Operation.objects.get(pk=held.pk).due_at == looked_at[held.pk].due_at


def test_a_row_that_cannot_be_swept_and_is_held_keeps_no_sweep_waiting(worker, in_thread):
    held = record.enqueue("a")
    with open_transaction(partial(by_lock, held)):
        assert in_thread(lambda: poison.set_back(held.pk, ValueError("no"))).result(10) == 0
    assert poison.set_back(held.pk, ValueError("no")) == 1
    Operation.objects.filter(pk=held.pk).update(failed_sweeps=100)
    with open_transaction(partial(by_lock, held)):
        assert in_thread(lambda: poison.set_back(held.pk, ValueError("no"))).result(10) == 0
        assert state(held) == State.QUEUED
    assert poison.set_back(held.pk, ValueError("no")) == 1
    assert state(held) == State.FAILED


def test_the_main_loop_does_not_wait_to_note_that_errbacks_heard_of_a_reject_and_does_not_forget_it(worker, in_thread):
    operation = running(only_once.enqueue())
    Operation.objects.filter(pk=operation.pk).update(state=State.FAILED, delivered=False)

    def tell() -> None:
        # As Celery 5.7 does in the pool's parent.
        hooks._on_failure(sender=only_once, task_id=str(operation.pk), exception=Reject("no"))

    with open_transaction(partial(by_lock, operation)):
        assert in_thread(tell).result(10) is None
        assert not Operation.objects.get(pk=operation.pk).delivered
    until(lambda: Operation.objects.get(pk=operation.pk).delivered)


def test_a_worker_stops_whose_own_row_is_held(transactional_db, in_thread):
    WorkerFactory(identity=worker_id.me())
    with open_transaction(lambda: Worker.objects.select_for_update().get()):
        assert in_thread(Presence(None).leave).result(10) is None
        assert Worker.objects.exists()
    Presence(None).leave()
    assert not Worker.objects.exists()


def test_pruning_does_not_wait_for_a_chunk_that_is_held_and_keeps_its_parent(worker, in_thread):
    OrderFactory.create_batch(2)
    parent = split(Order.objects.all(), 1, part)
    worker.finish()
    held, _ = parent.children.order_by("pk")
    prune = in_transaction(lambda: ledger.prune(table.by_id(parent.pk)))
    with open_transaction(partial(by_lock, held)):
        assert in_thread(prune).result(10) == 1
    assert set(Operation.objects.values_list("pk", flat=True)) == {parent.pk, held.pk}
    assert [prune() for _ in range(3)] == [1, 1, 0]


def test_a_sweep_that_tells_of_rows_one_by_one_waits_for_none(worker, in_thread, monkeypatch):
    held, free = record.enqueue("a"), record.enqueue("b")
    for operation in (held, free):
        by_cancel(operation)
    note, together = schedule.reschedule, [True]
    told = list(Operation.objects.order_by("pk"))

    def fail_once(*args: object, **kwargs: object) -> int:
        if together:
            raise ValueError(together.pop())
        return note(*args, **kwargs)

    monkeypatch.setattr(schedule, "reschedule", fail_once)
    with open_transaction(partial(by_lock, held)):
        assert in_thread(lambda: sweeper._note_delivered(told, Swept())).result(10) is None
        assert [Operation.objects.get(pk=row.pk).delivered for row in (held, free)] == [False, True]


def test_a_message_without_a_row_whose_key_is_not_committed_comes_back_and_frees_its_slot(worker, in_thread):
    sent = double.app.send_task(double.name, (4,))
    message = worker.take_one()
    with open_transaction(lambda: double.enqueue(4)):
        assert in_thread(partial(worker.deliver, message)).result(10).state == "IGNORED"
        comes_back = worker.take_one()
    worker.deliver(comes_back)
    worker.finish()
    assert (Operation.objects.get().state, sent.get(timeout=1)) == (State.SUCCEEDED, 8)
