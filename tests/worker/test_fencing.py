"""Zombies are fenced: an attempt that lost its lease to another one changes nothing any more."""

from collections.abc import Callable

import pytest
from celery.exceptions import Ignore, Reject
from django.db import connection

from django_task_safety import ledger, safe_task
from django_task_safety.ledger import schedule, table
from django_task_safety.models import Operation
from tests.support.delivering import LocalWorker, elsewhere
from tests.support.operations import only
from tests.testapp.models import Effect
from tests.testapp.tasks import effect

State = Operation.State
DO: list[Callable[..., object]] = []


@safe_task(bind=True, atomic=False, max_retries=2, retry_backoff=0.01)
def zombie_outside(self) -> object:
    return DO[0](self)


@safe_task(bind=True, max_retries=2, retry_backoff=0.01)
def zombie(self) -> object:
    effect("zombie")
    return DO[0](self)


@zombie_outside.compensate
def compensate(operation: Operation, exc: BaseException) -> None:
    effect("compensated")


def raises(exc: BaseException) -> Callable[..., object]:
    def end(task: object) -> None:
        raise exc

    return end


ENDS: dict[str, Callable[..., object]] = {
    "returns": lambda task: "late",
    "fails": raises(ValueError("late")),
    "fails for a while": raises(ConnectionError("late")),
    "retries": lambda task: task.retry(countdown=1),
    "ignores": raises(Ignore("late")),
    "rejects": raises(Reject("late", requeue=False)),
    "replaces": lambda task: task.replace(zombie.si()),
}


def take_over(worker: LocalWorker) -> Operation:
    """Let the lease of the running attempt end, and claim its operation for another one."""
    worker.pass_time(31)
    seen = ledger.claim(only().pk, "the successor", 30, None)
    assert seen is not None
    assert seen.claimed
    return seen.operation


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_however_a_zombie_ends_the_row_stays_its_successors(worker, monkeypatch, end):
    successors: list[Operation] = []

    def body(task: object) -> object:
        successors.append(take_over(worker))
        return end(task)

    monkeypatch.setattr("tests.worker.test_fencing.DO", [body])
    zombie_outside.delay()
    delivery = worker.deliver_one()
    (successor,) = successors
    assert (delivery.state, delivery.acknowledged) == ("IGNORED", True)
    assert (only().state, only().token, only().attempt) == (State.RUNNING, successor.token, 2)
    assert (only().error, only().result_payload) == ("", "")
    assert not Effect.objects.exists()
    assert worker.take() == []
    assert ledger.settle(successor, '"in time"')


def test_writes_of_a_zombie_are_rolled_back(worker, monkeypatch):
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer: nobody takes over while the body's transaction is open")

    def body(task: object) -> str:
        elsewhere(lambda: take_over(worker))
        return "late"

    monkeypatch.setattr("tests.worker.test_fencing.DO", [body])
    zombie.delay()
    assert worker.deliver_one().state == "IGNORED"
    assert (only().state, only().worker, only().attempt) == (State.RUNNING, "the successor", 2)
    assert not Effect.objects.exists()


def test_a_zombie_cannot_settle_even_while_its_successor_runs(worker):
    first = ledger.claim(zombie.enqueue().pk, "first", 30, None).operation
    second = take_over(worker)
    assert not ledger.settle(first, '"late"')
    assert not ledger.requeue(first, 0.0, name="requeued")
    assert not ledger.finish(first, State.FAILED, ledger.Failure("late"))
    assert ledger.settle(second, '"in time"')
    assert (only().state, only().result) == (State.SUCCEEDED, "in time")


def test_a_lease_can_be_renewed_by_its_owner_only(worker):
    operation = ledger.claim(zombie.enqueue().pk, "first", 30, None).operation
    assert schedule.renew([operation.pk], "stranger", 30) == 0
    assert schedule.renew([operation.pk], "first", 30) == 1


def test_a_lease_is_not_renewed_past_the_deadline_of_its_attempt(worker):
    operation = ledger.claim(zombie.enqueue().pk, "first", 30, 40).operation
    worker.pass_time(20)
    schedule.renew([operation.pk], "first", 30)
    worker.pass_time(21)
    assert not ledger.claim(operation.pk, "second", 30, 40).claimed
    assert only().due_at == only().deadline_at


def test_a_running_operation_is_not_claimed_before_its_lease_ended(worker):
    operation = ledger.claim(zombie.enqueue().pk, "first", 30, None).operation
    worker.pass_time(29)
    assert not ledger.claim(operation.pk, "second", 30, None).claimed


def test_a_copy_of_the_message_does_not_exceed_the_attempts(worker, monkeypatch):
    monkeypatch.setattr("tests.worker.test_fencing.DO", [ENDS["returns"]])
    operation = zombie.enqueue()
    message = worker.take_one()
    for _ in range(3):
        assert ledger.claim(operation.pk, "dies", 30, None).claimed
        worker.pass_time(31)
    assert worker.deliver(message).state == "IGNORED"
    assert (only().state, only().attempt) == (State.RUNNING, 3)
    worker.finish()
    assert only().state == State.FAILED
    assert not Effect.objects.exists()


@pytest.mark.parametrize("state", Operation.PENDING)
def test_a_pending_operation_cannot_be_pruned(worker, state):
    operation = zombie.enqueue()
    if state == State.RUNNING:
        ledger.claim(operation.pk, "first", 30, None)
    assert ledger.prune(table.rows()) == 0
    assert only().state == state
