"""`self.retry()`, and attempts that are counted whatever ended them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery.exceptions import MaxRetriesExceededError, Retry
from django.db import IntegrityError
from django.utils import timezone

from django_task_safety import TaskSafetyError, safe_task
from django_task_safety.models import Operation
from tests.support.factories import NoteFactory
from tests.support.ids import label
from tests.support.operations import only
from tests.testapp.models import Note, Order

State = Operation.State


def delay_until_next() -> float:
    return (only().available_at - timezone.now()).total_seconds()


@safe_task(bind=True, retry_backoff=10, retry_jitter=False, max_retries=4)
def explicit(self, countdown: float | None = None, max_retries: int | None = None) -> None:
    try:
        raise KeyError("cause")
    except KeyError as exc:
        raise self.retry(exc=exc, countdown=countdown, max_retries=max_retries) from exc


@safe_task(bind=True, max_retries=1, retry_backoff=0.01)
def without_cause(self) -> None:
    raise self.retry()


#: What the next attempt of `retrying` asks of ``self.retry()``, or raises.
REQUESTED: list[dict[str, Any] | BaseException] = []


@safe_task(bind=True, max_retries=2, retry_backoff=10, retry_jitter=False, max_payload=200)
def retrying(self, value: int = 0) -> int:
    if not REQUESTED:
        return value
    what = REQUESTED.pop()
    raise what if isinstance(what, BaseException) else self.retry(**what)


@safe_task(bind=True, max_retries=0)
def spends_its_attempts(self, note: Note, copies: int = 1, *, other: Any = None) -> None:
    SPENT.append((note, copies, other))
    self.retry(**(other or {}))


@safe_task(bind=True, max_retries=0)
def raises_retry_by_hand(self, number: int) -> None:
    raise Retry()


SPENT: list[Any] = []


@safe_task(bind=True, atomic=False, max_retries=2)
def goes_on_after_a_bad_retry(self) -> str:
    try:
        self.retry(args=(1, 2, 3))
    except TypeError:
        return "went on"


@safe_task(bind=True, max_retries=2, retry_backoff=0.01)
def retries_in_a_broken_transaction(self, number: int) -> int:
    try:
        Order.objects.create(number=number, amount=1)
    except IntegrityError as exc:
        raise self.retry(args=(number + 1,), exc=exc) from exc
    return number


@pytest.fixture(autouse=True)
def _nothing_is_requested():
    yield
    REQUESTED.clear()


@pytest.mark.parametrize(("countdown", "seconds"), [(None, 10), (33, 33), (0, 0)])
def test_an_explicit_retry_backs_off_unless_it_says_when(worker, countdown, seconds):
    explicit.delay(countdown)
    assert worker.deliver_one().state == "RETRY"
    assert seconds - 2 < delay_until_next() <= seconds + 0.5


def test_explicit_retries_grow_and_end_with_their_cause(worker):
    result = explicit.delay()
    worker.finish()
    assert (only().state, only().attempt, only().error) == (State.FAILED, 5, "KeyError: 'cause'")
    assert worker.ahead == pytest.approx(150, abs=2)
    with pytest.raises(KeyError):
        result.get(timeout=1)


def test_an_explicit_bound_counts_and_does_not_stick_to_the_task(worker):
    explicit.delay(0.1, max_retries=1)
    worker.drain()
    assert (only().state, only().attempt) == (State.FAILED, 2)
    Operation.all_rows.all().delete()
    explicit.delay(0.1)
    worker.finish()
    assert only().attempt == 5


def test_retrying_without_a_cause_ends_with_celerys_error(worker):
    result = without_cause.delay()
    worker.drain()
    assert (only().state, only().attempt) == (State.FAILED, 2)
    assert "MaxRetriesExceededError" in only().error
    with pytest.raises(MaxRetriesExceededError):
        result.get(timeout=1)


@pytest.mark.parametrize(
    "asked",
    [
        *({"countdown": value} for value in (1e300, float("inf"), float("nan"), 10**400, "5", True)),
        *({"eta": value} for value in (datetime(2040, 1, 1), datetime.max.replace(tzinfo=UTC), "tomorrow", 5)),
        *({"max_retries": value} for value in (-1, 2**40, 1.5, "many", True)),
        *({"args": value} for value in ((1, 2), (object(),), ("a" * 300,))),
        *({"kwargs": {"unknown": 1}}, {"expires": -1}, {"countdwon": 1}, {"headers": {"a": object()}}),
    ],
    ids=lambda asked: label(asked)[:40],
)
def test_a_self_retry_that_cannot_work_fails_with_the_reason(worker, asked):
    REQUESTED.append(asked)
    result = retrying.delay()
    assert worker.deliver_one().state == "FAILURE"
    assert (only().state, only().attempt, only().max_attempts) == (State.FAILED, 1, 3)
    assert only().error.startswith(("Invalid", "PayloadTooLarge"))
    assert worker.take() == []
    with pytest.raises(TaskSafetyError):
        result.get(timeout=1)


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        *(({"countdown": value}, 0) for value in (-5, float("-inf"), timedelta(-1))),
        ({"countdown": timedelta(seconds=30)}, 30),
        ({"eta": timezone.now() - timedelta(hours=1)}, 0),
        *((Retry(when=value), 10) for value in (None, 1e300, float("nan"), "soon", True)),
        (Retry(when=-5), 0),
        (Retry(when=30), 30),
    ],
    ids=label,
)
def test_a_self_retry_with_a_past_or_meaningless_wait_waits_not_at_all_or_by_the_backoff(worker, asked, seconds):
    REQUESTED.append(asked)
    retrying.delay()
    assert worker.deliver_one().state == "RETRY"
    assert seconds - 2 < delay_until_next() <= seconds + 0.5
    worker.finish()
    assert (only().state, only().attempt) == (State.SUCCEEDED, 2)


def test_a_retry_that_is_raised_by_hand_may_name_a_moment(worker):
    REQUESTED.append(Retry(when=timezone.now() + timedelta(hours=1)))
    retrying.delay()
    worker.deliver_one()
    assert 3590 < delay_until_next() <= 3600


def test_a_refused_self_retry_that_the_body_catches_leaves_nothing(worker):
    result = goes_on_after_a_bad_retry.delay()
    worker.drain()
    assert result.get(timeout=1) == "went on"
    assert (only().state, only().attempt) == (State.SUCCEEDED, 1)


def test_a_retry_with_other_arguments_works_in_a_broken_transaction(worker):
    Order.objects.create(number=1, amount=1)
    result = retries_in_a_broken_transaction.delay(1)
    worker.finish()
    assert result.get(timeout=1) == 2


@pytest.mark.parametrize("other", [None, {"args": [7], "kwargs": {"copies": 3}}])
def test_the_error_of_spent_attempts_carries_the_arguments_as_celerys_does(worker, other):
    note = NoteFactory()
    spends_its_attempts.delay(note, copies=2, other=other)
    error = worker.deliver_one().value
    assert isinstance(error, MaxRetriesExceededError)
    if other is None:
        assert (error.task_args, error.task_kwargs) == ((note,), {"copies": 2, "other": None})
    else:
        assert (error.task_args, error.task_kwargs) == ((7,), {"copies": 3})


def test_a_retry_raised_by_hand_in_the_last_attempt_fails_for_who_waits(worker):
    result = raises_retry_by_hand.delay(5)
    error = worker.deliver_one().value
    assert isinstance(error, MaxRetriesExceededError)
    assert (error.task_args, only().state, result.state) == ((5,), State.FAILED, "FAILURE")
