"""A hook that Celery calls before the task raises: the operation ends, and is not published again for ever."""

import pytest
from celery import Task

from django_task_safety import ledger, safe_task
from django_task_safety.ledger import worker_id
from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from tests.support.operations import only
from tests.testapp.tasks import effect

State = Operation.State
compensated: list[str] = []


class Unwilling(Task):
    abstract = True

    def before_start(self, task_id, args, kwargs):
        raise RuntimeError("not today")


@safe_task(base=Unwilling)
def unwilling() -> None:
    effect("unwilling")


@unwilling.compensate
def note(operation: Operation, exc: BaseException) -> None:
    compensated.append(str(exc))


@pytest.fixture(autouse=True)
def fresh():
    compensated.clear()


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
