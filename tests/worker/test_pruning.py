"""Ended operations are kept for their retention, and no longer."""

from datetime import timedelta

import pytest

from django_task_safety import idempotent_task
from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from tests.support.operations import only
from tests.testapp.tasks import act, record

State = Operation.State

DAY = 86_400


@idempotent_task(key="key", retention=timedelta(hours=1))
def short_lived(key: str) -> str:
    return key


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled"])
def test_ended_operations_are_pruned_after_their_retention(worker, end):
    operation = act.enqueue("raise" if end == "failed" else "ok")
    if end == "cancelled":
        operation.cancel()
    worker.drain()
    assert only().state == end
    worker.pass_time(30 * DAY - 60)
    assert sweeper.sweep().pruned == 0
    worker.pass_time(120)
    assert sweeper.sweep().pruned == 1
    assert not Operation.all_rows.exists()


def test_the_retention_of_a_task_takes_precedence_and_its_key_is_free_afterwards(worker):
    short_lived.delay("a")
    worker.drain()
    worker.pass_time(3601)
    assert sweeper.sweep().pruned == 1
    assert short_lived.enqueue("a").state == State.QUEUED


def test_operations_with_retention_none_are_kept_for_ever(worker, settings):
    settings.TASK_SAFETY = {"RETENTION": None}
    record.delay("a")
    worker.drain()
    worker.pass_time(10_000 * DAY)
    assert not sweeper.sweep()
    assert only().due_at is None


def test_pending_operations_are_never_pruned(worker):
    record.delay("a")
    worker.pass_time(365 * DAY)
    sweeper.sweep()
    assert only().state == State.QUEUED
