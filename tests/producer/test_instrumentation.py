"""What instrumentation adds to a message belongs to its call, whoever publishes that, and however often."""

import functools
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest
from celery import Celery, signals
from django.db import transaction

from django_task_safety import InvalidOption, SafeTask, idempotent_task, safe_task
from django_task_safety.models import Operation
from django_task_safety.producer import broker
from django_task_safety.worker import sweeper
from tests.celery import app
from tests.support.delivering import statements, undone
from tests.testapp.tasks import act, double, record

State = Operation.State
request_id: ContextVar[str] = ContextVar("request_id", default="nobody's")
seen: list[tuple[str, str, Any]] = []


@contextmanager
def request(name: str):
    token = request_id.set(name)
    yield
    request_id.reset(token)


@pytest.fixture(autouse=True)
def _instrumented():
    """Trace as OpenTelemetry's and structlog's packages do: by signals, in the context of the caller."""
    seen.clear()

    def before(sender="", headers=None, **published):
        headers["traceparent"] = request_id.get()
        headers["odd"] = object if request_id.get() == "odd" else 1
        seen.append(("before", sender, headers["id"]))

    def after(sender="", headers=None, **published):
        seen.append(("after", sender, headers["id"]))

    signals.before_task_publish.connect(before, weak=False)
    signals.after_task_publish.connect(after, weak=False)
    yield
    signals.before_task_publish.disconnect(before)
    signals.after_task_publish.disconnect(after)


@pytest.fixture
def eager():
    app.conf.task_always_eager = True
    yield
    app.conf.task_always_eager = False


class Tenanted(SafeTask):
    """Adds what the call belongs to, as packages that wrap ``apply_async`` do."""

    abstract = True

    def apply_async(self, args=None, kwargs=None, **options):
        record.delay("audited")
        headers = {**(options.pop("headers", None) or {}), "tenant": request_id.get()}
        return super().apply_async(args, kwargs, headers=headers, priority=3, **options)


@safe_task(base=Tenanted)
def tenanted(number: int) -> int:
    return number


@safe_task(base=Tenanted, bind=True)
def told(self, number: int) -> object:
    return self.request.headers.get("tenant")


class Silent(SafeTask):
    abstract = True

    def apply_async(self, *args, **options): ...


@safe_task(base=Silent)
def silent() -> None: ...


@idempotent_task(key="key", on_duplicate="replace")
def latest(key: str, value: int) -> int:
    return value


def traces(worker) -> list[str]:
    return [message.headers["traceparent"] for message in worker.take()]


@pytest.mark.parametrize("how", ["delay", "enqueue", "enqueue_many"])
def test_a_message_carries_the_trace_of_its_call_and_is_announced_once_there(worker, how):
    with transaction.atomic():
        with request("first"):
            record.enqueue_many([("x",)]) if how == "enqueue_many" else getattr(record, how)("x")
        announced = list(seen)
        assert not worker.take()
    operation = Operation.objects.get()
    assert announced == [(when, record.name, str(operation.pk)) for when in ("before", "after")] == seen
    message = worker.take_one()
    assert (message.headers["traceparent"], message.headers["odd"]) == ("first", 1)
    worker.deliver(message)
    operation.refresh_from_db()
    assert operation.state == State.SUCCEEDED


def test_what_the_sweeper_publishes_carries_it_too(worker):
    with request("first"):
        record.delay("x")
        record.apply_async(("y",), countdown=3600)
    assert traces(worker) == ["first"]
    worker.pass_time(3700)
    with request("the sweeper's"):
        sweeper.sweep()
    assert traces(worker) == ["first", "first"]


def test_it_is_carried_where_the_broker_was_down_at_the_commit(worker, monkeypatch):
    def down(app):
        raise ConnectionError("down")

    with monkeypatch.context() as patch:
        patch.setattr(broker, "broker_connection", down)
        with request("first"):
            record.delay("x")
    worker.pass_time(61)
    sweeper.sweep()
    assert traces(worker) == ["first"]


def test_each_attempt_carries_it(worker):
    with request("first"):
        act.delay("flaky")
    found = []
    while messages := worker.take():
        for message in messages:
            found.append(message.headers["traceparent"])
            worker.pass_time(1)
            worker.deliver(message)
    assert found == ["first"] * 3


def test_newer_arguments_bring_their_own(worker):
    with request("first"):
        latest.delay("k", 1)
    with request("second"):
        latest.delay("k", 2)
    assert traces(worker) == ["first", "second"]
    worker.pass_time(61)
    sweeper.sweep()
    assert traces(worker) == ["second"]


def test_who_waits_for_a_duplicate_carries_its_own(worker):
    with request("first"):
        double.delay(4)
    with request("second"):
        double.apply_async((4,), link=record.si("called back"))
    assert traces(worker) == ["first", "second"]


def test_a_message_that_comes_back_carries_what_it_came_with(worker, in_thread):
    with request("first"):
        record.apply_async(("x",), countdown=30)
    message = worker.take_one()
    with request("the worker's"):
        worker.deliver(message)
    assert traces(worker) == ["first"]


def test_nothing_is_published_for_what_is_rolled_back(worker):
    with undone():
        record.delay("x")
    assert not worker.take()


def test_what_cannot_be_kept_goes_with_the_first_message_or_is_left_out(worker):
    with request("odd"):
        operation = record.enqueue("x")
    assert operation.options
    worker.take()
    worker.pass_time(61)
    sweeper.sweep()
    message = worker.take_one()
    assert (message.headers["traceparent"], message.headers["odd"]) == ("odd", 1)


def test_what_is_put_around_celerys_publishing_is_kept(worker, monkeypatch):
    send_task = Celery.send_task

    @functools.wraps(send_task)
    def traced(*args, **options):
        trace = {"sentry-trace": request_id.get()}
        headers = {**(options.pop("headers", None) or {}), **trace, "headers": trace}
        return send_task(*args, headers=headers, **options)

    monkeypatch.setattr(Celery, "send_task", traced)
    with request("first"):
        record.delay("x")
    worker.take()
    worker.pass_time(61)
    sweeper.sweep()
    headers = worker.take_one().headers
    assert (headers["sentry-trace"], headers["headers"]) == ("first", {"sentry-trace": "first"})


@pytest.mark.parametrize("how", ["delay", "enqueue", "enqueue_many", "signature"])
def test_every_way_to_call_goes_through_an_overridden_apply_async(worker, how):
    with request("t1"):
        {
            "delay": lambda: tenanted.delay(1),
            "enqueue": lambda: tenanted.enqueue(1),
            "enqueue_many": lambda: tenanted.enqueue_many([(1,)]),
            "signature": lambda: tenanted.s(1).delay(),
        }[how]()
    (message,) = [one for one in worker.take() if one.headers["task"] == tenanted.name]
    assert (message.headers["tenant"], message.properties["priority"]) == ("t1", 3)
    assert Operation.objects.filter(task=record.name).count() == 1


@pytest.mark.parametrize("how", ["enqueue", "enqueue_many"])
def test_eager_mode_goes_through_it_too(worker, eager, how):
    with request("t1"):
        operation = told.enqueue(1) if how == "enqueue" else told.enqueue_many([(1,)])[0]
    assert operation.result == "t1"
    assert not seen


def test_an_apply_async_that_makes_no_call_is_told_of(worker):
    with pytest.raises(InvalidOption, match="made 0 calls"):
        silent.enqueue()


def test_what_is_added_costs_no_statement(worker):
    with statements() as found:
        record.delay("x")
        worker.drain()
    assert len(found) == 4  # the insert, the claim, the task's own, the settle
