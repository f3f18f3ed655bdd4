"""What is retried, when, and how often."""

from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from django.db import IntegrityError, InterfaceError, OperationalError
from django.utils import timezone
from kombu.exceptions import OperationalError as BrokerError

from django_task_safety import OperationCancelled, ledger, safe_task
from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from tests.support.ids import label
from tests.support.operations import only
from tests.testapp.models import Effect

State = Operation.State
RAISE: list[Callable[[], BaseException]] = []


def fail() -> None:
    Effect.objects.create(name="attempted")
    raise RAISE[0]()


def task(name: str, **options: Any) -> Any:
    """A task of a name of its own that fails as the test says."""
    options = {"retry_backoff": 10, "retry_jitter": False, "name": f"tests.retries.{name}", **options}
    return safe_task(**options)(fail)


default = task("default", max_retries=3)
unbounded = task("unbounded", max_retries=None, retry_backoff_max=20)
never = task("never", max_retries=0)
by_class = task("by_class", retry_on=KeyError)
by_tuple = task("by_tuple", retry_on=(KeyError, ZeroDivisionError))
by_answer = task("by_answer", retry_on=lambda exc: exc.args[0])
everything = task("everything", retry_on=BaseException)
autoretry = task("autoretry", autoretry_for=(Exception,), dont_autoretry_for=(KeyError,))
fractional = task("fractional", retry_backoff=0.5)
steady = task("steady", retry_backoff=False, default_retry_delay=7)
slow = task("slow", retry_backoff=100, retry_backoff_max=1000)
eager_to_wait = task("jittered", retry_jitter=True)
broken_rule = task("broken_rule", retry_on=lambda exc: 1 / 0)


@pytest.fixture
def failing(monkeypatch) -> Callable[[Any], None]:
    def set_failure(failure: Any) -> None:
        monkeypatch.setattr("tests.worker.test_retries.RAISE", [failure if callable(failure) else lambda: failure])

    return set_failure


def delay_until_next() -> float:
    return (only().available_at - timezone.now()).total_seconds()


def http(status: int, **headers: str) -> Exception:
    exc = Exception(f"{status}")
    exc.response = SimpleNamespace(status_code=status, headers=headers)
    return exc


def named(name: str) -> type[Exception]:
    return type(name, (Exception,), {})


TRANSIENT = [
    *(ConnectionError(), ConnectionResetError(), BrokenPipeError(), TimeoutError(), OperationalError("gone away")),
    *(InterfaceError("closed"), BrokerError("down"), http(429), http(502), http(503), http(504)),
    *(named("ReadTimeout")(), named("ConnectTimeout")(), type("Mine", (named("ConnectionError"),), {})()),
]
LASTING = [ValueError(), KeyError(), IntegrityError(), http(400), http(404), http(500), AssertionError(), OSError("x")]


@pytest.mark.parametrize("exc", TRANSIENT, ids=label)
def test_errors_that_tend_to_pass_are_retried(worker, failing, exc):
    failing(exc)
    default.delay()
    assert worker.deliver_one().state == "RETRY"
    assert (only().state, only().attempt) == (State.QUEUED, 1)
    assert type(exc).__name__ in only().error
    assert not Effect.objects.exists()


@pytest.mark.parametrize("exc", LASTING, ids=label)
def test_errors_that_do_not_tend_to_pass_are_not_retried(worker, failing, exc):
    failing(exc)
    default.delay()
    assert worker.deliver_one().state == "FAILURE"
    assert only().state == State.FAILED


@pytest.mark.parametrize("retried", [by_class, by_tuple, by_answer, everything, autoretry])
@pytest.mark.parametrize(
    "never",
    [Reject("no"), Ignore("no"), SoftTimeLimitExceeded(), lambda: OperationCancelled("no", only())],
    ids=["Reject", "Ignore", "SoftTimeLimitExceeded", "OperationCancelled"],
)
def test_some_errors_are_never_retried_whatever_the_options_say(worker, failing, retried, never):
    failing(never)
    retried.delay()
    worker.deliver_one()
    assert not only().is_pending
    assert only().attempt == 1
    assert worker.take() == []


def test_retry_on_may_be_a_class_or_several(worker, failing):
    for retried, exc, state in (
        (by_class, KeyError(), State.QUEUED),
        (by_class, ConnectionError(), State.FAILED),
        (by_tuple, ZeroDivisionError(), State.QUEUED),
        (by_tuple, ValueError(), State.FAILED),
    ):
        failing(exc)
        pk = retried.enqueue().pk
        worker.deliver_one()
        worker.take()
        assert Operation.objects.get(pk=pk).state == state


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [(True, 10), (33, 33), (0.5, 0.5), (timedelta(minutes=2), 120), (0, 0), (False, None), (None, None)],
)
def test_retry_on_may_answer_with_a_bool_seconds_or_a_timedelta(worker, failing, answer, seconds):
    failing(Exception(answer))
    by_answer.delay()
    worker.deliver_one()
    if seconds is None:
        assert only().state == State.FAILED
    else:
        assert only().state == State.QUEUED
        assert seconds - 2 < delay_until_next() <= seconds + 0.5


@pytest.mark.parametrize(
    "answer",
    ["soon", -5, float("nan"), float("inf"), 1e300, 10**400, timedelta.max, timedelta(-1)],
    ids=lambda a: f"{a!r:.20}",
)
def test_a_retry_on_rule_that_answers_nonsense_ends_the_operation_and_does_not_lose_it(worker, failing, caplog, answer):
    failing(Exception(answer))
    by_answer.delay()
    worker.deliver_one()
    assert (only().state, only().attempt) == (State.FAILED, 1)
    assert only().error.startswith("Exception: ")
    assert "retry_on" in caplog.text


def test_a_retry_on_rule_that_raises_ends_the_operation_and_does_not_lose_it(worker, failing):
    failing(ValueError("the real one"))
    broken_rule.delay()
    worker.deliver_one()
    assert only().state == State.FAILED
    assert "the real one" in only().error + only().traceback


def test_autoretry_for_and_dont_autoretry_for_are_followed(worker, failing):
    failing(ValueError())
    pk = autoretry.enqueue().pk
    worker.deliver_one()
    assert Operation.objects.get(pk=pk).state == State.QUEUED
    worker.take()
    failing(KeyError())
    pk = autoretry.enqueue().pk
    worker.deliver_one()
    assert Operation.objects.get(pk=pk).state == State.FAILED


def test_retries_are_bounded_and_their_delays_grow(worker, failing):
    failing(ConnectionError("still down"))
    result = default.delay()
    worker.drain()
    assert (only().state, only().attempt) == (State.FAILED, 4)
    assert only().error == "ConnectionError: still down"
    assert worker.ahead == pytest.approx(70, abs=1)
    with pytest.raises(ConnectionError):
        result.get(timeout=1)


def test_max_retries_zero_means_one_attempt(worker, failing):
    failing(ConnectionError())
    never.delay()
    worker.drain()
    assert (only().state, only().attempt) == (State.FAILED, 1)


def test_max_retries_none_retries_without_end(worker, failing):
    failing(ConnectionError())
    unbounded.delay()
    for _ in range(12):
        worker.deliver_one()
        assert delay_until_next() <= 20
        worker.pass_time(21)
    assert (only().state, only().attempt) == (State.QUEUED, 12)


def test_a_retry_delay_of_a_fraction_of_a_second_stays_one(worker, failing):
    failing(ConnectionError())
    fractional.delay()
    worker.deliver_one()
    assert 0 < delay_until_next() <= 0.6


def test_without_backoff_the_retry_delay_is_fixed(worker, failing):
    failing(ConnectionError())
    steady.delay()
    worker.drain()
    assert worker.ahead == pytest.approx(7 * 5, abs=1)


def test_the_jitter_of_a_retry_stays_in_the_upper_half(worker, failing):
    failing(ConnectionError())
    eager_to_wait.delay()
    worker.deliver_one()
    assert 4 < delay_until_next() <= 10.1


@pytest.mark.parametrize(("asked", "seconds"), [("50", 50), ("1", 10)])
def test_a_servers_retry_after_is_honoured(worker, failing, asked, seconds):
    failing(http(429, **{"Retry-After": asked}))
    default.delay()
    worker.deliver_one()
    assert seconds - 2 < delay_until_next() <= seconds + 0.5


def test_a_long_retry_delay_is_waited_for_in_the_database(worker, failing):
    failing(ConnectionError())
    slow.delay()
    worker.deliver_one()
    assert 98 < delay_until_next() <= 100.5
    assert worker.take() == []
    worker.pass_time(101)
    assert sweeper.sweep().published == 1
    worker.deliver_one()
    assert only().attempt == 2


def test_crashes_and_retries_count_together(worker, failing):
    failing(ConnectionError())
    operation = default.enqueue()
    worker.take()
    for _ in range(2):
        ledger.claim(operation.pk, "dies", 30, None)
        worker.pass_time(31)
        sweeper.sweep()
    worker.drain()
    assert (only().state, only().attempt) == (State.FAILED, 4)
