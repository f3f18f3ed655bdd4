"""Operations of a task that the sweeping process does not know: another one's, or of a task that was removed."""

import pytest

from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from tests.support.operations import only
from tests.testapp.tasks import record

State = Operation.State
DAY = 86_400


@pytest.fixture
def waiting(worker):
    """A queued operation of a task that nobody here knows; its message is lost."""
    record.delay("a")
    worker.take()
    Operation.objects.update(task="removed.task")
    return worker


def test_one_that_waits_is_found_as_stuck_and_logged(waiting, caplog):
    waiting.pass_time(121)
    assert sweeper.sweep().published == 0
    assert Operation.objects.stuck().get().task == "removed.task"
    (line,) = [one for one in caplog.records if one.levelname == "WARNING"]
    assert f"operation {only().pk}: the task removed.task is not registered here" in line.getMessage()


def test_it_is_left_to_a_sweeper_that_knows_its_task(waiting, caplog):
    waiting.pass_time(61)
    sweeper.sweep()
    assert only().republished == 0
    assert not caplog.records
    Operation.objects.update(task=record.name)
    assert sweeper.sweep().published == 1


def test_strangers_at_work_all_the_time_do_not_keep_it_from_that_one(waiting):
    for _ in range(30):
        waiting.pass_time(120)
        sweeper.sweep()
    Operation.objects.update(task=record.name)
    waiting.pass_time(sweeper.REPUBLISH_FACTOR_MAX * 60)
    assert sweeper.sweep().published == 1


def test_it_fails_with_the_reason_when_nobody_knew_its_task_for_a_month(waiting):
    waiting.pass_time(29 * DAY)
    sweeper.sweep()
    assert only().state == State.QUEUED
    waiting.pass_time(2 * DAY)
    assert sweeper.sweep().failed == 1
    assert only().state == State.FAILED
    assert "not registered" in only().error


def test_the_month_counts_from_when_it_was_due(worker):
    record.apply_async(("a",), countdown=40 * DAY)
    Operation.objects.update(task="removed.task")
    worker.pass_time(41 * DAY)
    sweeper.sweep()
    assert only().state == State.QUEUED


def test_one_whose_task_is_known_waits_for_ever(worker):
    record.delay("a")
    for _ in range(3):
        worker.take()
        worker.pass_time(31 * DAY)
        sweeper.sweep()
    assert only().state == State.QUEUED
    worker.drain()
    assert only().state == State.SUCCEEDED
