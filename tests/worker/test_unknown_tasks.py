"""Operations of a task that the sweeping process does not know: another one's, or of a task that was removed."""

import pytest

from django_task_safety.models import Operation
from django_task_safety.worker import backlog, sweeper
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


def test_an_operation_of_an_unknown_task_is_found_as_stuck_and_logged(waiting, caplog):
    waiting.pass_time(121)
    assert sweeper.sweep().published == 0
    assert Operation.objects.stuck().get().task == "removed.task"
    (line,) = [one for one in caplog.records if one.levelname == "WARNING"]
    assert f"operation {only().pk}: the task removed.task is not registered here" in line.getMessage()


def test_an_operation_is_left_to_a_sweeper_that_knows_its_task(waiting, caplog):
    waiting.pass_time(61)
    sweeper.sweep()
    assert only().republished == 0
    assert not caplog.records
    Operation.objects.update(task=record.name)
    assert sweeper.sweep().published == 1


def test_sweepers_that_do_not_know_a_task_do_not_keep_its_operation_from_one_that_does(waiting):
    for _ in range(30):
        waiting.pass_time(120)
        sweeper.sweep()
    Operation.objects.update(task=record.name)
    waiting.pass_time(backlog.REPUBLISH_FACTOR_MAX * 60)
    assert sweeper.sweep().published == 1


def test_an_operation_whose_task_nobody_knew_for_a_month_fails_with_the_reason(waiting):
    waiting.pass_time(29 * DAY)
    sweeper.sweep()
    assert only().state == State.QUEUED
    waiting.pass_time(2 * DAY)
    assert sweeper.sweep().failed == 1
    assert only().state == State.FAILED
    assert "not registered" in only().error


def test_the_month_for_an_unknown_task_counts_from_when_the_operation_was_due(worker):
    record.apply_async(("a",), countdown=40 * DAY)
    Operation.objects.update(task="removed.task")
    worker.pass_time(41 * DAY)
    sweeper.sweep()
    assert only().state == State.QUEUED


def test_an_operation_whose_task_is_known_is_published_again_for_ever(worker):
    record.delay("a")
    for _ in range(3):
        worker.take()
        worker.pass_time(31 * DAY)
        sweeper.sweep()
    assert only().state == State.QUEUED
    worker.drain()
    assert only().state == State.SUCCEEDED
