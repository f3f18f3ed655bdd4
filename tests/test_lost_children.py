"""A child of the pool that dies before its message has a row: at an import, or while it unpickles the arguments."""

import pytest
from billiard.einfo import ExceptionInfo
from billiard.exceptions import WorkerLostError
from celery.worker.request import create_request_cls
from kombu.message import Message
from kombu.utils.imports import symbol_by_name

from django_task_safety.models import Operation
from tests.celery import app
from tests.testapp.tasks import record


def lose_the_child(worker, message: Message) -> list[str]:
    """Tell the pool's parent that the message's child died, and return what the parent told the broker."""
    told: list[str] = []

    def acknowledge(*args):
        told.append("acknowledged")

    def reject(logger, errors, requeue):
        told.append("requeued" if requeue else "rejected")

    request_class = create_request_cls(
        symbol_by_name(record.Request), record, worker.pool, "local@tests", None, app=app
    )
    request = request_class(
        message,
        on_ack=acknowledge,
        on_reject=reject,
        app=app,
        task=record,
        body=message.body,
        headers=message.headers,
    )
    try:
        raise WorkerLostError("killed")
    except WorkerLostError:
        request.on_failure(ExceptionInfo())
    return told


@pytest.fixture
def message(worker):
    app.send_task(record.name, ("a",))
    return worker.take_one()


def test_a_message_whose_child_died_before_it_had_a_row_goes_back_to_the_broker(worker, message):
    assert lose_the_child(worker, message) == ["requeued"]


def test_a_message_whose_child_died_twice_before_it_had_a_row_fails_for_its_caller(worker, message):
    message.delivery_info["redelivered"] = True
    lose_the_child(worker, message)
    assert app.AsyncResult(message.headers["id"]).state == "FAILURE"
    assert not Operation.objects.exists()
