"""Newer work under an old key: versions that only grow, and one run per period."""

from datetime import UTC, date, datetime, timedelta
from unittest import mock

import pytest
from celery import current_app

from django_task_safety import InvalidArguments, idempotent_task
from django_task_safety.models import Operation
from tests.testapp.models import Effect
from tests.testapp.tasks import effect

State = Operation.State


def effects(name: str) -> list[str]:
    return list(Effect.objects.filter(name=name).order_by("pk").values_list("key", flat=True))


@idempotent_task(key="key", version="version")
def versioned(key: str, version: object, meanwhile: list[int] = ()) -> object:
    for newer in meanwhile:
        versioned.delay(key, newer)
    effect("versioned", version)
    return version


@idempotent_task(key="key", period=timedelta(hours=1))
def hourly(key: str = "") -> str:
    return key


def test_an_older_version_than_the_last_success_is_skipped(worker):
    versioned.delay("a", 5)
    worker.drain()
    for stale in (4, 5):
        assert versioned.enqueue("a", stale).state == State.SUCCEEDED
    assert worker.take() == []
    versioned.delay("a", 6)
    worker.drain()
    assert effects("versioned") == ["5", "6"]


def test_a_newer_version_replaces_the_queued_arguments_and_an_older_one_does_not(worker):
    versioned.delay("a", 5)
    versioned.delay("a", 7)
    versioned.delay("a", 6)
    worker.drain()
    assert effects("versioned") == ["7"]


def test_a_newer_version_that_comes_while_an_older_one_runs_is_run_after_it(worker):
    versioned.delay("a", 1, meanwhile=[3, 2])
    worker.drain()
    assert effects("versioned") == ["1", "3"]
    assert Operation.objects.get().result == 3


def test_a_message_with_an_older_version_is_skipped_in_the_worker_too(worker):
    for version in (5, 4):
        versioned.app.send_task(versioned.name, ("a", version))
    worker.drain()
    assert effects("versioned") == ["5"]


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (date(2026, 1, 31), date(2026, 2, 1)),
        (datetime(2026, 1, 1, 12, 0, 0, 1, UTC), datetime(2026, 1, 1, 12, 0, 0, 2, UTC)),
        (-(2**63), 2**63 - 1),
    ],
)
def test_versions_may_be_numbers_dates_and_datetimes(worker, older, newer):
    versioned.delay("a", newer)
    worker.drain()
    assert versioned.enqueue("a", older).state == State.SUCCEEDED
    assert len(effects("versioned")) == 1


@pytest.mark.parametrize("bad", [None, "5", 1.5, True, 2**63, [1]])
def test_a_version_that_is_no_number_date_or_datetime_is_refused(worker, bad):
    with pytest.raises(InvalidArguments, match="version"):
        versioned.delay("a", bad)
    assert not Operation.objects.exists()


def test_there_is_one_operation_per_period_and_it_is_aligned_to_the_clock(worker):
    def at(hour: int, minute: int) -> str:
        return hourly.apply_async(("a",), eta=datetime(2040, 1, 1, hour, minute, 30, tzinfo=UTC)).id

    assert at(10, 0) == at(10, 59)
    assert at(11, 0) != at(10, 59)
    assert Operation.objects.count() == 2


@pytest.mark.parametrize("minute", [0, 59])
def test_a_period_follows_django_s_clock_and_begins_at_the_full_hour(worker, minute):
    def at(*time: int) -> str:
        with mock.patch("django.utils.timezone.now", return_value=datetime(2040, 1, 1, *time, tzinfo=UTC)):
            return hourly.delay("a").id

    assert at(10, minute) == at(10, 59, 59) != at(11, 0)


def test_a_run_that_is_pending_from_the_last_period_does_not_block_the_next(worker):
    early, late = (datetime(2040, 1, 1, hour, tzinfo=UTC) for hour in (10, 11))
    assert hourly.apply_async(eta=early).id != hourly.apply_async(eta=late).id
    assert Operation.objects.pending().count() == 2


def test_two_schedulers_get_one_run_per_period(worker):
    for _ in range(2):
        current_app.send_task(hourly.name, ("a",))
    worker.drain()
    operation = Operation.objects.get()
    assert operation.state == State.SUCCEEDED
    assert operation.key.startswith("a @ ")
