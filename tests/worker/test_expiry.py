"""Work that has not started by its `expires` ends as cancelled."""

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from django_task_safety import ledger, safe_task
from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from tests.support.operations import only
from tests.testapp.models import Effect
from tests.testapp.tasks import act, record

State = Operation.State


@safe_task(expires=30)
def perishable() -> None: ...


def test_an_operation_that_expired_before_its_start_ends_as_cancelled(worker):
    record.apply_async(("a",), expires=30)
    message = worker.take_one()
    worker.pass_time(31)
    worker.deliver(message)
    assert only().state == State.CANCELLED
    assert "expired" in only().error
    assert not Effect.objects.exists()


def test_an_expired_operation_is_found_by_the_sweeper_without_a_message(worker):
    record.apply_async(("a",), expires=30)
    worker.take()
    worker.pass_time(31)
    assert sweeper.sweep().cancelled == 1
    assert only().state == State.CANCELLED


def test_an_expired_operation_cannot_be_claimed(worker):
    result = record.apply_async(("a",), expires=30)
    worker.pass_time(31)
    seen = ledger.claim(uuid.UUID(result.id), "a worker", 30.0, None)
    assert not seen.claimed
    assert only().state == State.QUEUED


def test_an_operation_that_started_in_time_does_not_expire_between_its_attempts(worker):
    act.apply_async(("retry",), {"countdown": 40}, expires=30)
    worker.drain()
    assert (only().state, only().attempt) == (State.SUCCEEDED, 3)


def test_a_tasks_own_expiry_counts_from_the_call(worker):
    perishable.delay()
    assert Operation.objects.get().expires_at is not None
    worker.take()
    worker.pass_time(31)
    assert sweeper.sweep().cancelled == 1
    assert worker.take() == []


def test_the_expiry_of_a_call_takes_precedence_over_the_tasks(worker):
    perishable.apply_async(expires=300)
    worker.pass_time(31)
    worker.drain()
    assert only().state == State.SUCCEEDED


@pytest.mark.parametrize("expires", [30, 30.0, timedelta(seconds=30), "moment"])
def test_an_expiry_is_seconds_a_timedelta_or_a_moment(worker, expires):
    moment = timezone.now() + timedelta(seconds=30)
    record.apply_async(("a",), expires=moment if expires == "moment" else expires)
    assert abs(only().expires_at - moment) < timedelta(seconds=5)
