"""Every way for an attempt to end, besides returning and raising."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from celery.exceptions import Ignore, Reject

from django_task_safety import current_operation, idempotent_task, ledger, safe_task
from django_task_safety.ledger import worker_id
from django_task_safety.models import Operation
from tests.celery import app
from tests.support.operations import only
from tests.testapp.models import Effect
from tests.testapp.tasks import act, effect, record

State = Operation.State

DO: list[Callable[..., object]] = []


@safe_task(bind=True, max_retries=2, retry_backoff=0.01)
def does(self, *args: object) -> object:
    effect("does", args)
    return DO[0](self, *args)


@pytest.fixture
def does_this(monkeypatch) -> Callable[[Callable[..., object]], None]:
    return lambda body: monkeypatch.setattr("tests.worker.test_endings.DO", [body])


@idempotent_task(key="key", ignore_result=True)
def silent(key: str) -> object:
    return object()


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize("message", ["a\x00b", "\ud800 alone", "🎉", "x" * 100_000, ""], ids=range(5))
def test_every_error_text_can_be_stored(worker, does_this, message):
    def body(self):
        raise ValueError(message)

    does_this(body)
    does.delay()
    worker.drain()
    assert only().state == State.FAILED
    assert only().error.startswith("ValueError: ")
    assert "\x00" not in only().error + only().traceback


def test_an_exception_that_has_no_text_is_recorded_too(worker, does_this):
    def body(self):
        raise Unprintable

    does_this(body)
    does.delay()
    worker.drain()
    assert only().state == State.FAILED
    assert "Unprintable" in only().error


@pytest.mark.parametrize("result", [object(), {1, object()}, lambda: None], ids=range(3))
def test_a_result_that_cannot_be_stored_fails_with_a_clear_error(worker, does_this, result):
    does_this(lambda self: result)
    does.delay()
    worker.drain()
    assert only().state == State.FAILED
    assert "serialised as json" in only().error
    assert not Effect.objects.exists()


def test_a_result_that_nobody_wants_need_not_be_storable(worker):
    silent.delay("a")
    worker.drain()
    assert (only().state, only().result) == (State.SUCCEEDED, None)


def test_ignore_keeps_the_writes_and_ends_as_cancelled(worker, does_this):
    def body(self):
        raise Ignore("nothing to do")

    does_this(body)
    does.delay()
    delivery = worker.deliver_one()
    assert (delivery.state, delivery.acknowledged) == ("IGNORED", True)
    assert only().state == State.CANCELLED
    assert "nothing to do" in only().error
    assert Effect.objects.count() == 1


@pytest.mark.parametrize("requeue", [False, True])
def test_reject_rolls_the_writes_back_and_ends_as_failed(worker, does_this, requeue):
    def body(self):
        raise Reject("cannot", requeue=requeue)

    does_this(body)
    does.delay()
    worker.deliver_one()
    assert only().state == State.FAILED
    assert "cannot" in only().error
    assert not Effect.objects.exists()


def test_a_retry_rolls_the_writes_back_and_runs_again_with_other_arguments(worker, does_this):
    def body(self, number):
        if number < 3:
            raise self.retry(args=(number + 1,), countdown=0.5)
        return [number, self.request.retries, current_operation().attempt]

    does_this(body)
    result = does.delay(1)
    first = worker.deliver_one()
    assert first.state == "RETRY"
    assert (only().state, only().attempt) == (State.QUEUED, 1)
    worker.drain()
    assert (only().state, only().result) == (State.SUCCEEDED, [3, 2, 3])
    assert list(Effect.objects.values_list("key", flat=True)) == ["(3,)"]
    assert result.get(timeout=1) == [3, 2, 3]


def test_a_retry_that_does_not_throw_keeps_the_writes(worker, does_this):
    def body(self):
        if self.request.retries < 1:
            self.retry(countdown=0.1, throw=False)
        return "returned"

    does_this(body)
    does.delay()
    worker.drain()
    assert (only().state, only().attempt) == (State.SUCCEEDED, 2)
    assert Effect.objects.count() == 2


def test_a_task_that_replaces_itself_continues_in_the_same_row(worker):
    result = act.delay("replace")
    worker.drain()
    operation = only()
    assert str(operation.pk) == result.id
    assert (operation.state, operation.task, operation.result) == (State.SUCCEEDED, record.name, "replacement")
    assert set(Effect.objects.values_list("name", flat=True)) == {"replace", "replacement"}
    assert result.get(timeout=1) == "replacement"


def test_a_task_replaced_by_a_plain_task_ends_as_succeeded(worker, does_this):
    does_this(lambda self: self.replace(app.signature("tests.testapp.tasks.plain", ("other",), immutable=True)))
    result = does.delay()
    worker.drain()
    assert only().state == State.SUCCEEDED
    assert Effect.objects.filter(name="plain").count() == 1
    assert result.get(timeout=1) == "other"


@pytest.mark.parametrize("exit", [SystemExit, KeyboardInterrupt])
def test_an_attempt_whose_process_is_told_to_exit_is_published_again_at_once(worker, does_this, exit):
    def body(self):
        if current_operation().attempt == 1:
            raise exit
        return "another process"

    does_this(body)
    does.delay()
    message = worker.take_one()
    assert worker.deliver(message).acknowledged
    again = worker.deliver_one()
    assert (again.id, again.value) == (message.headers["id"], "another process")
    assert (only().state, only().attempt) == (State.SUCCEEDED, 2)


def test_the_time_that_a_claim_takes_counts_for_the_hard_time_limit(worker, does_this, monkeypatch):
    now = 1000.0
    claim = ledger.claim

    def takes_long(*args, **kwargs):
        nonlocal now
        now += 2
        return claim(*args, **kwargs)

    def body(self):
        nonlocal now
        now += 2
        raise SystemExit

    monkeypatch.setattr(worker_id, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(ledger, "claim", takes_long)
    does_this(body)
    does.apply_async(time_limit=4)
    assert worker.deliver_one().acknowledged
    assert (only().state, only().error) == (State.FAILED, "TimeLimitPassed: The hard time limit passed")
