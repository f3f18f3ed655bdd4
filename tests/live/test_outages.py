"""The broker, the message, the worker or the database goes away, and the work is still done."""

import signal
import time
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone

from django_task_safety.models import Operation
from tests.celery import app
from tests.support.workers import until
from tests.testapp.models import Effect
from tests.testapp.tasks import (
    charge_slowly,
    endless,
    endless_after_a_slow_start,
    overlong,
    poison,
    record,
    slow,
    watched,
    watched_outside,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]
State = Operation.State
on_embedded = pytest.mark.parametrize("broker", ["embedded"], indirect=True)


def drained() -> bool:
    return not Operation.objects.pending().exists()


def state_of(operation: Operation) -> str:
    return Operation.objects.get(pk=operation.pk).state


@pytest.fixture
def take_broker_down(broker, request):
    """Stop the broker now; what is returned starts it again."""

    def down():
        if broker.name == "embedded":
            queue = Path(broker.options["data_folder_in"])
            queue.rename(f"{queue}.down")
            return lambda: Path(f"{queue}.down").rename(queue)
        server = request.getfixturevalue(f"{broker.name}_server")
        server.kill()
        return server.restart

    return down


def test_a_call_while_the_broker_is_down_returns_at_once_and_runs_when_it_is_back(take_broker_down, start_worker):
    bring_back = take_broker_down()
    try:
        begin = time.monotonic()
        result = record.delay("while down")
        assert time.monotonic() - begin < 2
        assert Operation.objects.get(pk=result.id).state == State.QUEUED
    finally:
        bring_back()
    start_worker()
    until(drained, timeout=60)
    assert Effect.objects.filter(name="while down").count() == 1


def test_a_lost_message_costs_a_delay_only(broker, start_worker):
    result = record.delay("lost")
    with app.connection_for_write() as broker_connection:
        assert broker_connection.default_channel.queue_purge("celery") == 1
    start_worker()
    until(drained, timeout=60)
    assert Operation.objects.get(pk=result.id).state == State.SUCCEEDED
    assert Effect.objects.filter(name="lost").count() == 1


@on_embedded
def test_a_paused_worker_that_wakes_up_late_changes_nothing(start_worker):
    if connection.vendor == "sqlite":
        pytest.skip("a paused transaction holds SQLite's only write lock")
    sleeper = start_worker(pool="solo", concurrency=1)
    operation = slow.enqueue("zombie", seconds=2.0)
    until(lambda: state_of(operation) == State.RUNNING)
    sleeper.signal(signal.SIGSTOP)
    try:
        start_worker()
        until(drained, timeout=60)
        assert Operation.objects.get().attempt == 2
    finally:
        sleeper.signal(signal.SIGCONT)
    sleeper.stop()
    assert Effect.objects.filter(name="slow").count() == 1
    row = Operation.objects.get()
    assert (row.state, row.attempt) == (State.SUCCEEDED, 2)


@on_embedded
def test_a_task_that_kills_its_worker_fails_after_its_attempts_with_the_reason(start_worker):
    start_worker()
    operation = poison.enqueue()
    until(drained, timeout=90)
    operation.refresh_from_db()
    assert (operation.state, operation.attempt) == (State.FAILED, 2)
    assert "lost" in operation.error
    assert Effect.objects.count() == 0


@on_embedded
@pytest.mark.parametrize(("task", "reason"), [(endless, "time limit"), (overlong, "SoftTimeLimitExceeded")])
def test_a_time_limit_ends_the_operation_with_the_reason(start_worker, task, reason):
    start_worker()
    operation = task.enqueue()
    until(drained, timeout=60)
    operation.refresh_from_db()
    assert (operation.state, operation.attempt) == (State.FAILED, 1)
    assert reason in operation.error
    assert Effect.objects.count() == 0


@on_embedded
@pytest.mark.parametrize(
    ("pool", "task"),
    [("threads", endless), ("gevent", endless), ("gevent", endless_after_a_slow_start)],
    indirect=["pool"],
)
def test_a_hung_attempt_in_a_pool_without_processes_ends_too(start_worker, pool, task):
    start_worker(pool=pool)
    operation = task.enqueue()
    until(drained, timeout=90)
    operation.refresh_from_db()
    assert (operation.state, operation.attempt) == (State.FAILED, 1)
    assert "time limit" in operation.error
    assert Effect.objects.count() == 0


@on_embedded
@pytest.mark.parametrize("task", [watched, watched_outside], ids=["atomic", "outside"])
def test_a_running_operation_shows_its_progress_and_is_told_that_it_was_cancelled(start_worker, pool, task):
    if task.atomic and connection.vendor == "sqlite":
        pytest.skip("the body's transaction holds SQLite's only write lock")
    start_worker(pool=pool)
    operation = task.enqueue()
    until(lambda: Operation.objects.get(pk=operation.pk).progress)
    assert operation.cancel("not needed any more") is True
    # The slot is free again long before the 60 seconds that the body would take.
    after = record.enqueue("after", 1), record.enqueue("after", 2)
    until(lambda: all(state_of(one) == State.SUCCEEDED for one in after), timeout=30)
    assert Effect.objects.filter(name="watched").count() == 0
    assert (state_of(operation), Operation.objects.get(pk=operation.pk).error) == (
        State.CANCELLED,
        "not needed any more",
    )


@on_embedded
@pytest.mark.parametrize("pool", ["prefork", "gevent"], indirect=True)
def test_a_long_task_keeps_its_lease(start_worker, quick, pool):
    if pool == "gevent" and connection.vendor == "sqlite":
        pytest.skip("who waits for SQLite's write lock stops all greenlets")
    start_worker(pool=pool, concurrency=1)
    operation = slow.enqueue("long", seconds=quick["LEASE"] * 2.5)
    until(drained, timeout=60)
    operation.refresh_from_db()
    assert (operation.state, operation.attempt) == (State.SUCCEEDED, 1)


@on_embedded
def test_a_revoke_cancels_and_is_not_forgotten(start_worker):
    result = record.delay("revoked")
    worker = start_worker()
    busy = [slow.enqueue(f"busy {n}", seconds=1.0) for n in range(2)]
    until(lambda: all(state_of(one) == State.SUCCEEDED for one in busy))
    until(drained)
    late = record.apply_async(("later",), countdown=4)
    app.control.revoke(late.id)
    until(drained, timeout=30)
    worker.stop()
    start_worker()
    assert Operation.objects.get(pk=late.id).state == State.CANCELLED
    assert Operation.objects.get(pk=result.id).state == State.SUCCEEDED
    assert Effect.objects.filter(name="later").count() == 0


@on_embedded
def test_who_waits_hears_of_a_cancel_long_before_the_message_would_come(start_worker, pool):
    result = record.apply_async(("never",), countdown=3600)
    assert Operation.objects.get(pk=result.id).cancel()
    assert result.state == "PENDING"
    start_worker(pool=pool)
    until(lambda: result.state == "REVOKED", timeout=30)


@on_embedded
def test_the_database_restarts_while_workers_work(start_worker, database_server):
    if database_server is None:
        pytest.skip("SQLite has no server to restart")
    start_worker()
    made = charge_slowly.enqueue_many([(n,) for n in range(60)])
    until(lambda: Effect.objects.count() >= 10)
    database_server.kill()
    database_server.restart()
    connection.close()
    until(drained, timeout=90)
    assert Effect.objects.count() == 2 * len(made)
    assert set(Operation.objects.values_list("state", flat=True)) == {"succeeded"}


@on_embedded
def test_an_expired_call_ends_as_cancelled(start_worker):
    operation_id = record.apply_async(("expired",), expires=0.5).id
    until(lambda: not Operation.objects.filter(expires_at__gt=timezone.now()).exists())
    start_worker()
    until(drained, timeout=30)
    row = Operation.objects.get(pk=operation_id)
    assert (row.state, Effect.objects.count()) == (State.CANCELLED, 0)
    assert "expired" in row.error
