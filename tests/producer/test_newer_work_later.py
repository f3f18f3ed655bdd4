"""Newer work that is asked for while the operation runs, and is to start later, starts then."""

from datetime import UTC, datetime, timedelta

import pytest
from billiard.exceptions import TimeLimitExceeded

from django_task_safety import idempotent_task, ledger
from django_task_safety.ledger import worker_id
from django_task_safety.models import Operation
from django_task_safety.worker import recovery, sweeper
from tests.support.operations import only
from tests.testapp.models import Effect
from tests.testapp.tasks import effect

State = Operation.State
HOUR = 3600


@idempotent_task(key="key", on_duplicate="replace")
def latest(key: str, value: int, later: list[float] = ()) -> int:
    for number, countdown in enumerate(later, start=value + 1):
        latest.apply_async((key, number), countdown=countdown)
    effect("latest", value)
    return value


@idempotent_task(key="key", version="version")
def versioned(key: str, version: int, later: float = 0) -> int:
    if later:
        versioned.apply_async((key, version + 1), countdown=later)
    effect("versioned", version)
    return version


@idempotent_task(key="key", on_duplicate="replace")
def refreshed(key: str, value: int) -> int:
    return value


def effects(name: str) -> list[str]:
    return list(Effect.objects.filter(name=name).order_by("pk").values_list("key", flat=True))


def starts_in_an_hour(operation: Operation) -> bool:
    left = (operation.available_at - datetime.now(UTC)).total_seconds()
    return operation.state == State.QUEUED and HOUR - 60 < left <= HOUR


def passes(worker, seconds: float) -> None:
    worker.pass_time(seconds)
    sweeper.sweep()
    worker.drain()


@pytest.mark.parametrize(("task", "arguments"), [(latest, ("a", 1, [HOUR])), (versioned, ("a", 1, HOUR))])
def test_newer_arguments_with_a_countdown_wait_when_the_running_attempt_has_settled(worker, task, arguments):
    name = task.name.rsplit(".", 1)[1]
    task.delay(*arguments)
    worker.drain()
    assert starts_in_an_hour(only())
    passes(worker, HOUR - 10)
    assert effects(name) == ["1"]
    passes(worker, 20)
    assert effects(name) == ["1", "2"]
    assert only().state == State.SUCCEEDED


def test_a_short_wait_of_newer_arguments_is_left_to_the_broker(worker):
    latest.delay("a", 1, [30])
    worker.deliver_one()
    message = worker.take_one()
    assert message.headers["eta"] is not None
    worker.deliver(message)
    assert effects("latest") == ["1"]
    worker.drain()
    passes(worker, 31)
    worker.finish()
    assert effects("latest") == ["1", "2"]


def test_the_last_of_several_newer_arguments_decides_when_they_start(worker):
    latest.delay("a", 1, [HOUR, 0])
    worker.drain()
    assert effects("latest") == ["1", "3"]


def start_and_ask_for_more() -> Operation:
    """An attempt runs, and newer work for an hour later is asked for."""
    pk = refreshed.delay("a", 1).id
    seen = ledger.claim(Operation.objects.get(pk=pk).pk, worker_id.me(), 30, None)
    assert seen is not None
    assert seen.claimed
    refreshed.apply_async(("a", 2), countdown=HOUR)
    return seen.operation


def test_newer_arguments_with_a_countdown_leave_the_running_attempt_its_lease(worker):
    start_and_ask_for_more()
    assert only().state == State.RUNNING
    assert only().lease_expires_at < datetime.now(UTC) + timedelta(seconds=60)


def test_a_retry_of_the_running_attempt_waits_for_the_countdown_of_newer_arguments(worker):
    running = start_and_ask_for_more()
    assert ledger.requeue(running, 1.0, name="retried")
    assert starts_in_an_hour(only())


def test_newer_arguments_do_not_shorten_a_longer_wait_of_a_retry(worker):
    running = start_and_ask_for_more()
    assert ledger.requeue(running, 2 * HOUR, name="retried")
    passes(worker, HOUR + 10)
    assert (only().state, only().attempt) == (State.QUEUED, 1)
    passes(worker, HOUR)
    assert (only().state, only().result) == (State.SUCCEEDED, 2)


def test_a_lost_lease_does_not_start_newer_arguments_early(worker):
    running = start_and_ask_for_more()
    worker.take()
    worker.pass_time(31)
    assert not ledger.claim(running.pk, "another", 30, None).claimed
    assert sweeper.sweep().requeued == 1
    assert worker.take() == []
    assert only().state == State.QUEUED
    assert sweeper.sweep().published == 0
    passes(worker, HOUR - 60)
    assert only().state == State.QUEUED
    passes(worker, 60)
    assert (only().state, only().result) == (State.SUCCEEDED, 2)


def test_a_lost_child_of_the_pool_does_not_start_newer_arguments_early(worker):
    running = start_and_ask_for_more()
    worker.take()
    assert recovery.worker_lost(running.pk, SystemExit()) is recovery.LossOutcome.QUEUED_AGAIN
    assert worker.take() == []
    assert starts_in_an_hour(only())


def test_newer_arguments_with_a_countdown_are_not_stuck_while_they_wait(worker):
    running = start_and_ask_for_more()
    assert recovery.worker_lost(running.pk, SystemExit()) is recovery.LossOutcome.QUEUED_AGAIN
    worker.pass_time(HOUR - 60)
    assert not Operation.objects.stuck().exists()


@idempotent_task(key="key", on_duplicate="replace", max_retries=0, atomic=False)
def outrun(key: str, value: int, how: str = "") -> int:
    """The first run is overtaken by newer arguments, and then ends as ``how`` says."""
    effect("outrun", value)
    if how:
        outrun.apply_async((key, value + 1))
        ENDINGS[how]()
    return value


def _fails():
    raise ValueError("for good")


ENDINGS = {
    "fails": _fails,
    "retries with arguments": lambda: outrun.retry(args=("a", 99), max_retries=1),
    "replaces itself": lambda: outrun.replace(refreshed.si("other", 1)),
}


@pytest.mark.parametrize("how", ENDINGS)
def test_newer_arguments_with_a_countdown_run_however_the_running_attempt_ends(worker, how):
    outrun.delay("a", 1, how)
    worker.drain()
    operation = Operation.objects.get(task=outrun.name)
    assert operation.state == State.SUCCEEDED
    assert operation.result == 2
    assert effects("outrun")[-1] == "2"
    assert "99" not in effects("outrun")


def test_newer_arguments_with_a_countdown_run_though_the_worker_of_the_last_attempt_is_lost(worker):
    operation = outrun.enqueue("a", 1)
    worker.take()
    ledger.claim(operation.pk, worker_id.me(), 30, None, lambda: None, outrun.name)
    outrun.delay("a", 2)
    passes(worker, 60)
    operation.refresh_from_db()
    assert (operation.state, operation.result) == (State.SUCCEEDED, 2)


@idempotent_task(key="key", on_duplicate="replace", time_limit=15, soft_time_limit=14)
def hangs(key: str, value: int) -> int:
    return value


@hangs.compensate
def _undo(operation: Operation, exc: BaseException) -> None:
    effect("compensated", operation.key)


def hung(worker, *, newer: bool) -> Operation:
    """An attempt has had its time; the pool killed it, or cannot."""
    operation = hangs.enqueue("a", 1)
    worker.take()
    ledger.claim(operation.pk, worker_id.me(), 30, 15, lambda: None, hangs.name)
    if newer:
        hangs.delay("a", 2)
    return operation


def found_by_the_sweeper(worker, operation: Operation) -> None:
    worker.pass_time(16)
    sweeper.sweep()


def killed_by_the_pool(worker, operation: Operation) -> None:
    limit = TimeLimitExceeded(15)
    hangs.backend.store_result(str(operation.pk), limit, "FAILURE")  # as the pool's parent has done by then
    recovery.time_limit_passed(operation.pk, limit)


@pytest.mark.parametrize("end", [found_by_the_sweeper, killed_by_the_pool])
def test_newer_arguments_with_a_countdown_run_though_the_running_attempt_passes_its_time_limit(worker, end):
    operation = hung(worker, newer=True)
    end(worker, operation)
    operation.refresh_from_db()
    assert operation.state == State.QUEUED
    assert "time limit" in operation.error
    assert hangs.AsyncResult(str(operation.pk)).state == "PENDING"
    worker.drain()
    operation.refresh_from_db()
    assert (operation.state, operation.result, operation.error) == (State.SUCCEEDED, 2, "")
    assert effects("compensated") == []


@pytest.mark.parametrize("end", [found_by_the_sweeper, killed_by_the_pool])
def test_a_time_limit_with_no_newer_arguments_ends_the_operation(worker, end):
    operation = hung(worker, newer=False)
    end(worker, operation)
    operation.refresh_from_db()
    assert operation.state == State.FAILED
    assert effects("compensated") == ["a"]


def test_newer_arguments_have_time_limits_of_their_own(worker):
    operation = hung(worker, newer=True)
    found_by_the_sweeper(worker, operation)
    worker.take()
    assert ledger.claim(operation.pk, worker_id.me(), 30, 15, lambda: None, hangs.name).claimed
    found_by_the_sweeper(worker, operation)
    operation.refresh_from_db()
    assert operation.state == State.FAILED
