"""A hook that Celery calls before the task raises: the operation ends, and is not published again for ever."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from celery import Task
from celery.exceptions import Ignore, MaxRetriesExceededError, Reject, Retry

from django_task_safety import ledger, safe_task
from django_task_safety.ledger import worker_id
from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from tests.support.operations import only
from tests.testapp.models import Effect
from tests.testapp.tasks import effect

State = Operation.State
compensated: list[str] = []


class Unwilling(Task):
    abstract = True

    def before_start(self, task_id, args, kwargs):
        raise RuntimeError("not today")


HINDRANCES: list[Callable[[Any], BaseException]] = []


class Hindered(Task):
    abstract = True

    def before_start(self, task_id, args, kwargs):
        for hindrance in HINDRANCES:
            raise hindrance(self)


@safe_task(base=Hindered, max_retries=1, retry_backoff=0.1)
def hindered() -> str:
    effect("hindered")
    return "done"


@safe_task(base=Unwilling)
def unwilling() -> None:
    effect("unwilling")


@unwilling.compensate
def note(operation: Operation, exc: BaseException) -> None:
    compensated.append(str(exc))


@pytest.fixture(autouse=True)
def fresh():
    compensated.clear()
    HINDRANCES.clear()


def test_an_operation_that_cannot_begin_fails_with_the_reason_and_is_compensated_for(worker):
    unwilling.delay()
    assert worker.deliver_one().state == "FAILURE"
    assert (only().state, only().error) == (State.FAILED, "RuntimeError: not today")
    assert compensated == ["not today"]
    worker.pass_time(10_000)
    sweeper.sweep()
    assert worker.take() == []


def test_a_copy_that_cannot_begin_leaves_another_attempt_alone(worker):
    operation = unwilling.enqueue()
    message = worker.take_one()
    assert ledger.claim(operation.pk, worker_id.me(), 30, None).claimed
    worker.deliver(message)
    assert only().state == State.RUNNING


def test_it_ends_in_eager_mode_too(worker):
    assert unwilling.apply().state == "FAILURE"
    assert only().state == State.FAILED


def test_a_message_without_a_row_fails_as_with_a_plain_task(worker):
    worker.app.send_task(unwilling.name)
    assert worker.deliver_one().state == "FAILURE"
    assert not Operation.objects.exists()


@pytest.fixture
def deliver_all(worker) -> Callable[[], None]:
    """Deliver and sweep for a while."""

    def deliver_all() -> None:
        for _ in range(6):
            for message in worker.take():
                delivery = worker.deliver(message)
                assert delivery.acknowledged or delivery.rejected
            sweeper.sweep()
            worker.pass_time(61)

    return deliver_all


@pytest.mark.parametrize(
    ("hindrance", "state", "attempts", "result"),
    [
        (lambda task: Ignore("not wanted"), State.CANCELLED, 1, "PENDING"),
        (lambda task: Reject("cannot", requeue=False), State.FAILED, 1, "FAILURE"),
        (lambda task: Reject("cannot", requeue=True), State.FAILED, 1, "FAILURE"),
        (lambda task: Retry("later", when=1), State.FAILED, 2, "FAILURE"),
        (lambda task: task.retry(countdown=1), State.FAILED, 2, "FAILURE"),
        (lambda task: SystemExit(3), State.FAILED, 2, "FAILURE"),
        (lambda task: KeyboardInterrupt(), State.FAILED, 2, "FAILURE"),
        (lambda task: asyncio.CancelledError(), State.FAILED, 2, "FAILURE"),
    ],
    ids=["ignore", "reject", "requeue", "raised", "retry", "exit", "interrupt", "cancelled"],
)
def test_whatever_a_hook_before_the_task_raises_ends_the_operation(deliver_all, hindrance, state, attempts, result):
    HINDRANCES.append(hindrance)
    handle = hindered.delay()
    deliver_all()
    assert (only().state, only().attempt) == (state, attempts)
    assert handle.state == result
    assert not Effect.objects.exists()


@pytest.mark.parametrize(
    "hindrance", [lambda task: task.retry(countdown=1), lambda task: SystemExit(3)], ids=["retry", "exit"]
)
def test_what_could_not_begin_at_first_runs_in_its_next_attempt(worker, deliver_all, hindrance):
    HINDRANCES.append(hindrance)
    handle = hindered.delay()
    worker.deliver_one()
    assert (only().state, only().attempt) == (State.QUEUED, 1)
    HINDRANCES.clear()
    deliver_all()
    assert (only().state, only().attempt, handle.get(timeout=1)) == (State.SUCCEEDED, 2, "done")
    assert Effect.objects.count() == 1


def test_a_retry_of_what_could_not_begin_says_that_the_attempts_are_spent(deliver_all):
    HINDRANCES.append(lambda task: task.retry(countdown=1))
    handle = hindered.delay()
    deliver_all()
    with pytest.raises(MaxRetriesExceededError):
        handle.get(timeout=1)


def test_who_ignores_a_task_in_eager_mode_before_it_begins_cancels_it(worker):
    HINDRANCES.append(lambda task: Ignore("not wanted"))
    hindered.apply()
    assert only().state == State.CANCELLED
