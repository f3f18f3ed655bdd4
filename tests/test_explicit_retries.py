"""`self.retry()`, and attempts that are counted whatever ended them."""

import pytest
from celery.exceptions import MaxRetriesExceededError
from django.utils import timezone

from django_task_safety import safe_task
from django_task_safety.models import Operation

State = Operation.State


def only() -> Operation:
    return Operation.objects.get()


def delay_until_next() -> float:
    return (only().available_at - timezone.now()).total_seconds()


@safe_task(bind=True, retry_backoff=10, retry_jitter=False, max_retries=4)
def explicit(self, countdown: float | str | None = None, max_retries: int | None = None) -> None:
    try:
        raise KeyError("cause")
    except KeyError as exc:
        countdown = None if countdown is None else float(countdown)
        raise self.retry(exc=exc, countdown=countdown, max_retries=max_retries) from exc


@safe_task(bind=True, max_retries=1, retry_backoff=0.01)
def without_cause(self) -> None:
    raise self.retry()


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


@pytest.mark.parametrize("countdown", [1e300, float("inf"), float("nan")], ids=str)
def test_a_retry_beyond_all_time_fails_and_says_so(worker, countdown):
    explicit.apply_async((str(countdown),))
    worker.drain()
    assert only().state == State.FAILED
    assert "InvalidOption" in only().error
