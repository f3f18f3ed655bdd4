"""Messages of beat, `send_task` and other languages: they get their row from the worker that runs them."""

import uuid

import pytest
from celery.result import AsyncResult
from kombu.message import Message

from django_task_safety import idempotent_task
from django_task_safety.models import Operation
from django_task_safety.producer import outbox
from django_task_safety.worker import sweeper
from tests.celery import app
from tests.support.delivering import about_operations, statements
from tests.support.ids import label
from tests.testapp.models import Effect
from tests.testapp.tasks import add, double, effect, record

State = Operation.State


@idempotent_task(key="key", rerun="never", max_retries=0)
def once(key: str, end: str) -> str:
    effect("once", key)
    if end == State.FAILED:
        raise ValueError("no")
    return end


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


def test_a_second_message_with_an_operations_id_finds_its_row(worker):
    mine = str(uuid.uuid4())
    record.apply_async(("row",), task_id=mine)
    app.send_task(record.name, ("message",), task_id=mine)
    worker.drain()
    assert Operation.objects.count() == 1
    assert ran("row") + ran("message") == 1


def sent(worker, name: str, *args: object) -> Message:
    """Return a message that was sent without a row."""
    app.send_task(name, args)
    return worker.take_one()


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED, State.CANCELLED])
def test_a_duplicate_of_what_has_ended_is_answered_in_four_statements(worker, state):
    once.delay("a", state)
    if state == State.CANCELLED:
        Operation.objects.get().cancel()
    worker.drain()
    message = sent(worker, once.name, "a", state)
    with statements() as found:
        delivery = worker.deliver(message)
    assert len(about_operations(found)) == 4, found
    assert delivery.state == {State.SUCCEEDED: "SUCCESS", State.FAILED: "FAILURE"}.get(state, "IGNORED")
    waiter = Operation.all_rows.get(pk=delivery.id)
    assert (waiter.state, waiter.waits_for) == (state, Operation.objects.get().pk)
    worker.deliver(message)
    assert worker.take() == []
    assert ran("once") == (state == State.SUCCEEDED)


def test_a_duplicate_of_what_is_pending_is_answered_in_three_statements(worker):
    double.delay(4)
    worker.take()
    message = sent(worker, double.name, 4)
    with statements() as found:
        assert worker.deliver(message).state == "IGNORED"
    assert len(about_operations(found)) == 3, found
    worker.deliver(message)
    worker.pass_time(61)
    sweeper.sweep()
    worker.drain()
    assert ran("double") == 1
    assert app.AsyncResult(message.headers["id"]).get(timeout=1) == 8


def test_a_duplicate_whose_waiter_was_not_published_is_swept(worker, monkeypatch):
    double.delay(4)
    worker.take()
    message = sent(worker, double.name, 4)
    with monkeypatch.context() as patch:
        patch.setattr(outbox, "publish_calls", lambda *args, **kwargs: None)
        worker.deliver(message)
    worker.finish()
    assert app.AsyncResult(message.headers["id"]).get(timeout=1) == 8


NOISE = ["x", 5, ["op"], {"op": 5}, {"op": "no id"}, {"att": "x"}]


@pytest.mark.parametrize("header", NOISE, ids=label)
def test_a_meaningless_header_on_a_message_without_a_row_is_ignored(worker, header):
    app.send_task(double.name, (4,), headers={"task_safety": header})
    worker.drain()
    assert (Operation.objects.get().state, Operation.objects.get().result) == (State.SUCCEEDED, 8)


@pytest.mark.parametrize("said", [{"rev": "x", "att": "y"}, {"rev": None}, {"att": -1, "rev": 10**30}], ids=label)
def test_a_header_that_says_nonsense_of_the_messages_row_is_ignored(worker, said):
    double.delay(4)
    message = worker.take_one()
    message.headers["task_safety"] = {**message.headers["task_safety"], **said}
    worker.deliver(message)
    assert (Operation.objects.get().state, Operation.objects.get().result) == (State.SUCCEEDED, 8)
