"""A child of the pool that dies before its message has a row: at an import, or while it unpickles the arguments."""

import pytest
from billiard.einfo import ExceptionInfo
from billiard.exceptions import WorkerLostError
from celery.worker import state
from celery.worker.request import Request, create_request_cls
from kombu.message import Message
from kombu.utils.imports import symbol_by_name

from django_task_safety import ledger
from django_task_safety.ledger import worker_id
from django_task_safety.models import Operation
from django_task_safety.signals import operation_requeued
from tests.celery import app
from tests.testapp.tasks import record


def request_for(worker, message: Message, answers: list[str]) -> Request:
    """Return the parent's request for a message; what it answers the broker goes to ``answers``."""

    def acknowledge(*args):
        answers.append("acknowledged")

    def reject(logger, errors, requeue):
        answers.append("requeued" if requeue else "rejected")

    request_class = create_request_cls(
        symbol_by_name(record.Request), record, worker.pool, "local@tests", None, app=app
    )
    return request_class(
        message,
        on_ack=acknowledge,
        on_reject=reject,
        app=app,
        task=record,
        body=message.body,
        headers=message.headers,
    )


def lose_the_child(worker, message: Message) -> list[str]:
    """Tell the pool's parent that the message's child died, and return what the parent answered the broker."""
    answers: list[str] = []
    request = request_for(worker, message, answers)
    state.task_accepted(request)
    try:
        raise WorkerLostError("killed")
    except WorkerLostError:
        request.on_failure(ExceptionInfo())
    return answers


@pytest.fixture
def message(worker):
    app.send_task(record.name, ("a",))
    return worker.take_one()


def test_a_message_whose_pool_process_died_before_it_had_a_row_goes_back_to_the_broker(worker, message):
    assert lose_the_child(worker, message) == ["requeued"]


def test_a_message_whose_pool_process_died_twice_before_it_had_a_row_fails_for_its_caller(worker, message):
    message.delivery_info["redelivered"] = True
    lose_the_child(worker, message)
    assert app.AsyncResult(message.headers["id"]).state == "FAILURE"
    assert not Operation.objects.exists()


def test_a_pool_process_that_died_in_the_middle_costs_its_attempt(worker):
    operation = record.enqueue("a")
    message = worker.take_one()
    ledger.claim(operation.pk, worker_id.me(), 30, None)
    heard: list[tuple[str, int]] = []

    def receiver(operation: Operation, **kwargs: object) -> None:
        heard.append((operation.state, operation.attempt))

    operation_requeued.connect(receiver)
    assert lose_the_child(worker, message) == ["acknowledged"]
    operation_requeued.disconnect(receiver)
    assert Operation.objects.get().state == Operation.State.QUEUED
    assert heard == [(Operation.State.QUEUED, 1)]
    assert worker.take_one().headers["id"] == message.headers["id"]


def test_a_pool_process_that_requeued_its_attempt_before_it_died_costs_the_next_one_nothing(worker):
    operation = record.enqueue("a")
    message = worker.take_one()
    first = ledger.claim(operation.pk, worker_id.me(), 30, None)
    assert ledger.requeue(first.operation, 0.0, name="requeued")
    second = ledger.claim(operation.pk, worker_id.me(), 30, None)
    running = request_for(worker, message, [])
    state.task_accepted(running)
    assert lose_the_child(worker, message) == ["acknowledged"]
    assert Operation.objects.get().token == second.operation.token
    state.task_ready(running)
