"""Messages of beat, `send_task` and other languages: they get their row from the worker that runs them."""

import uuid

from celery.result import AsyncResult

from django_task_safety.models import Operation
from tests.celery import app
from tests.testapp.models import Effect
from tests.testapp.tasks import add, double, record

State = Operation.State


def ran(name: str) -> int:
    return Effect.objects.filter(name=name).count()


def test_a_message_without_a_row_gets_one_with_its_own_id(worker):
    result = app.send_task(add.name, (1,), {"b": 2})
    worker.drain()
    operation = Operation.objects.get()
    assert str(operation.pk) == result.id
    assert (operation.state, operation.result, operation.attempt) == (State.SUCCEEDED, 3, 1)
    assert result.get(timeout=1) == 3


def test_copies_of_a_message_without_a_row_run_once(worker):
    app.send_task(record.name, ("sent",))
    message = worker.take_one()
    deliveries = [worker.deliver(message) for _ in range(3)]
    assert ran("sent") == 1
    assert [delivery.value for delivery in deliveries] == ["sent"] * 3


def test_two_messages_without_rows_and_with_one_key_run_once(worker):
    copies = [app.send_task(double.name, (4,)) for _ in range(3)]
    worker.drain()
    assert ran("double") == 1
    assert [copy.get(timeout=1) for copy in copies] == [8, 8, 8]


def test_a_message_whose_id_is_no_uuid_is_mapped_to_one(worker):
    app.send_task(record.name, ("sent",), task_id="order-17")
    message = worker.take_one()
    worker.deliver(message)
    worker.deliver(message)
    assert ran("sent") == 1
    assert Operation.objects.get().pk.version == 5
    assert AsyncResult("order-17", app=app).get(timeout=1) == "sent"


def test_a_failing_message_without_a_row_is_attempted_again(worker):
    app.send_task("tests.testapp.tasks.act", ("flaky",))
    worker.drain()
    operation = Operation.objects.get()
    assert (operation.state, operation.attempt) == (State.SUCCEEDED, 3)


def test_a_message_without_a_row_whose_arguments_do_not_fit_leaves_a_failed_one(worker):
    app.send_task(add.name, (1, 2, 3))
    delivery = worker.deliver_one()
    assert delivery.state == "FAILURE"
    assert Operation.objects.get().state == State.FAILED
    assert "InvalidArguments" in Operation.objects.get().error


def test_an_id_keeps_its_row_when_another_message_brings_it(worker):
    mine = str(uuid.uuid4())
    record.apply_async(("row",), task_id=mine)
    app.send_task(record.name, ("message",), task_id=mine)
    worker.drain()
    assert Operation.objects.count() == 1
    assert ran("row") + ran("message") == 1
