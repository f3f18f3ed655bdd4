"""What the sweeper tells result backends; one that hangs or fails holds nothing up, and hears it later."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import chain
from celery.backends.base import DisabledBackend
from celery.backends.cache import CacheBackend
from celery.backends.redis import RedisBackend
from celery.backends.rpc import RPCBackend

from django_task_safety import ledger, safe_task
from django_task_safety.ledger import worker_id
from django_task_safety.models import Operation
from django_task_safety.objects import conflicts
from django_task_safety.worker import recovery, result_backend, sweeper
from tests.celery import app
from tests.support.delivering import about_operations, statements
from tests.support.servers import Redis
from tests.testapp.tasks import double, plain, record

State = Operation.State
DAY = 86_400

# Celery's own call of redis-py.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex")


@safe_task
def elsewhere(n: int = 0) -> int:
    return n


@safe_task(ignore_result=True)
def ignored(n: int = 0) -> int:
    return n


@safe_task(max_retries=0)
def fragile(n: int = 0) -> int:
    return n


@safe_task(bind=True)
def replaces_itself(self) -> None:
    raise self.replace(plain.si("the plain one's"))


class Fake(CacheBackend):
    """A result backend that can be broken, and knows what it was told."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(app=app, url="memory://", **kwargs)
        self.told: list[str] = []
        self.asked = 0
        self.refuses: Any = lambda task_id: False

    def store_result(self, task_id, *args, **kwargs):
        self.asked += 1
        if self.refuses(task_id):
            raise ConnectionError("the result store is down")
        self.told.append(task_id)
        return super().store_result(task_id, *args, **kwargs)


class Another(Fake):
    """That of another task."""


def use(monkeypatch, backend: Any, *tasks: Any) -> Any:
    for task in tasks or (record, fragile, double, replaces_itself):
        monkeypatch.setattr(task._get_current_object(), "_backend", backend)
    return backend


@pytest.fixture
def backend(worker, monkeypatch) -> Fake:
    return use(monkeypatch, Fake())


@pytest.fixture
def redis(worker, redis_server: Redis, monkeypatch) -> RedisBackend:
    return use(monkeypatch, RedisBackend(app=app, url=redis_server.url))


@pytest.fixture
def hangs(redis_server: Redis, settings) -> Iterator[None]:
    settings.TASK_SAFETY = {"SWEEP_INTERVAL": 0.5}
    for process in redis_server._processes:
        os.kill(process.pid, signal.SIGSTOP)
    yield
    go_on(redis_server)


def go_on(redis_server: Redis) -> None:
    for process in redis_server._processes:
        os.kill(process.pid, signal.SIGCONT)
    if result_backend._thread is not None:
        result_backend._thread.join(30)


def cancelled(number: int = 1, task: Any = record) -> list[Operation]:
    found = task.enqueue_many([(n,) for n in range(number)])
    assert Operation.objects.filter(pk__in=[operation.pk for operation in found]).cancel("not needed") == number
    return found


def awaiting() -> int:
    return Operation.all_rows.filter(delivered=False).count()


def test_the_next_sweep_tells_the_result_backend_once_and_keeps_the_row_for_its_retention(worker, backend):
    (operation,) = cancelled()
    assert sweeper.sweep().notified == 1
    told = backend.get_task_meta(str(operation.pk))
    assert (told["status"], str(told["result"])) == ("REVOKED", "not needed")
    worker.pass_time(30 * DAY - 60)
    assert not sweeper.sweep()
    worker.pass_time(120)
    assert sweeper.sweep().pruned == 1
    assert backend.told == [str(operation.pk)]


def test_a_message_that_comes_before_the_sweep_tells_the_result_backend_of_a_cancel(worker, backend):
    (operation,) = cancelled()
    worker.drain()
    assert backend.told == [str(operation.pk)]
    assert awaiting() == 0
    assert not sweeper.sweep()


def test_one_sweep_tells_the_result_backend_of_500_operations_in_a_fixed_number_of_statements(worker, redis, settings):
    settings.TASK_SAFETY = {"SWEEP_INTERVAL": 60}  # for which it waits for the backend

    def count(number: int) -> int:
        found = cancelled(number)
        with statements() as sent:
            assert sweeper.sweep().notified == number
        assert {redis.get_state(str(operation.pk)) for operation in found} == {"REVOKED"}
        worker.take()
        return len(about_operations(sent))

    assert count(2) == count(499)
    cancelled(501)
    assert sweeper.sweep().notified == 501
    assert awaiting() == 0


def test_a_result_backend_that_hangs_does_not_hold_up_the_sweep(worker, redis, hangs, redis_server, caplog):
    (operation,) = cancelled()
    record.enqueue("late")
    worker.take()
    worker.pass_time(61)
    begun = time.monotonic()
    assert (sweeper.sweep().published, awaiting()) == (1, 1)
    # While it hangs, nothing waits for it again.
    cancelled()
    between = time.monotonic()
    sweeper.sweep()
    assert between - begun < 3
    assert time.monotonic() - between < 0.4
    go_on(redis_server)
    worker.pass_time(61)
    assert sweeper.sweep().notified == 2
    assert redis.get_state(str(operation.pk)) == "REVOKED"


def test_a_result_backend_that_fails_is_left_alone_for_the_rest_of_the_sweep(worker, backend, settings, caplog):
    settings.TASK_SAFETY = {"SWEEP_BATCH": 5}
    backend.refuses = lambda task_id: True
    record.enqueue("late")
    worker.pass_time(60)
    early = cancelled(20)[0].created_at - timedelta(hours=1)
    Operation.objects.filter(state=State.CANCELLED).update(due_at=early)
    worker.pass_time(1)
    assert sweeper.sweep().published == 1
    assert (backend.asked, awaiting()) == (2, 20)
    assert caplog.text.count("the result backend was not told: ConnectionError") == 2
    assert "Traceback" not in caplog.text


def test_an_outcome_that_the_result_backend_did_not_take_is_told_at_growing_intervals(worker, backend):
    backend.refuses = lambda task_id: True
    cancelled()
    gaps, last = [], 0.0
    while len(gaps) < 5:
        before = backend.asked
        sweeper.sweep()
        if backend.asked > before:
            gaps.append(worker.ahead - last)
            last = worker.ahead
        worker.pass_time(20)
    assert gaps[1:] == sorted(gaps[1:])
    assert gaps[4] > 4 * gaps[1] > 200
    backend.refuses = lambda task_id: False
    worker.pass_time(1000)
    assert sweeper.sweep().notified == 1


def test_an_outcome_that_the_result_backend_refuses_does_not_hold_up_the_others(worker, backend):
    poison, *others = sorted(cancelled(10), key=lambda operation: operation.pk)
    backend.refuses = lambda task_id: task_id == str(poison.pk)
    assert sweeper.sweep().notified == len(others)


def test_a_failing_result_backend_of_one_task_does_not_hold_up_other_tasks(worker, backend, monkeypatch):
    use(monkeypatch, Another(), elsewhere).refuses = lambda task_id: True
    cancelled(5, elsewhere)
    cancelled(5)
    assert sweeper.sweep().notified == 5


@pytest.mark.parametrize("case", ["a lock", "ignored by the task", "ignored by the call", "no backend"])
def test_an_operation_whose_outcome_nobody_waits_for_is_noted_as_delivered(worker, backend, monkeypatch, case):
    if case == "ignored by the task":
        cancelled(1, ignored)
    elif case == "no backend":
        use(monkeypatch, DisabledBackend(app=app))
        cancelled()
    else:
        record.apply_async(("a",), **({"ignore_result": True} if case == "ignored by the call" else {}))
        Operation.objects.update(**({"task": conflicts.LOCK} if case == "a lock" else {}))
        Operation.objects.cancel()
    assert sweeper.sweep().notified == 1
    assert (backend.told, awaiting()) == ([], 0)


def test_the_outcome_of_an_unknown_task_is_left_for_a_while_to_a_process_that_knows_it(worker, backend):
    cancelled()
    Operation.objects.update(task="of.another.project")
    assert not sweeper.sweep()
    worker.pass_time(61)
    assert sweeper.sweep().notified == 1
    assert awaiting() == 0


def test_chains_hear_of_a_cancel_by_the_message_that_carries_them(worker, backend):
    chain(double.s(1), double.s())()
    worker.take()
    Operation.objects.cancel()
    swept = sweeper.sweep()
    assert (swept.published, swept.notified, backend.told) == (1, 0, [])
    worker.drain()
    assert len(backend.told) == 2  # of both members of the chain
    assert awaiting() == 0


def test_a_sweeper_that_dies_before_it_notes_what_it_told_tells_it_once_more(worker, backend, monkeypatch):
    (operation,) = cancelled()
    with monkeypatch.context() as patch:
        patch.setattr(sweeper, "note_delivered", lambda ended: sys.exit("killed"))
        with pytest.raises(SystemExit):
            sweeper.sweep()
    worker.pass_time(61)
    assert sweeper.sweep().notified == 1
    assert backend.told == [str(operation.pk)] * 2


def test_an_operation_that_was_rerun_before_the_sweep_is_not_told_as_cancelled(worker, backend):
    (operation,) = cancelled()
    assert operation.retry()
    assert not sweeper.sweep()
    assert backend.told == []


def test_an_operation_that_is_rerun_while_its_cancel_is_told_stays_to_be_run(worker, backend):
    (operation,) = cancelled()
    worker.take()
    backend.refuses = lambda task_id: not operation.retry()
    assert sweeper.sweep().notified == 0
    backend.refuses = lambda task_id: False
    worker.drain()
    operation.refresh_from_db()
    assert operation.state == State.SUCCEEDED
    assert backend.get_state(str(operation.pk)) == "SUCCESS"


def test_the_sweep_that_fails_an_operation_tells_the_result_backend_at_once(worker, backend):
    operation = fragile.enqueue()
    worker.take()
    ledger.claim(operation.pk, "a worker that dies", 1, None)
    worker.pass_time(10)
    swept = sweeper.sweep()
    assert (swept.failed, swept.notified) == (1, 1)
    told = backend.get_task_meta(str(operation.pk))
    assert told["status"] == "FAILURE"
    assert "lost" in str(told["result"])


def test_a_copy_of_the_message_of_an_operation_that_a_sweep_failed_raises_nothing(worker, backend):
    operation = fragile.enqueue()
    message = worker.take_one()
    ledger.claim(operation.pk, "a worker that dies", 1, None)
    worker.pass_time(10)
    backend.refuses = lambda task_id: True
    sweeper.sweep()
    backend.refuses = lambda task_id: False
    assert worker.deliver(message).state == "IGNORED"
    assert backend.get_state(str(operation.pk)) == "FAILURE"


def test_the_sweep_that_expires_an_operation_tells_the_result_backend_at_once(worker, backend):
    record.apply_async(("a",), expires=30)
    worker.take()
    worker.pass_time(31)
    swept = sweeper.sweep()
    assert (swept.cancelled, swept.notified) == (1, 1)


def test_the_rpc_result_backend_is_told_where_the_caller_listens(worker, monkeypatch):
    sent: list[tuple[str, str]] = []
    backend = RPCBackend(app=app)
    monkeypatch.setattr(backend, "store_result", lambda pk, *args, request: sent.append((pk, request.reply_to)))
    use(monkeypatch, backend)
    result = record.delay("a")
    Operation.objects.cancel()
    assert sweeper.sweep().notified == 1
    assert sent == [(result.id, app.thread_oid)]


def test_an_operation_with_unreadable_options_does_not_hold_up_the_outcomes_of_others(worker, backend):
    spoilt, _ = cancelled(2)
    Operation.objects.filter(pk=spoilt.pk).update(options="{")
    assert sweeper.sweep().notified == 1


@pytest.mark.parametrize("end", ["killed at its time limit", "replaced by a plain task"])
def test_an_operation_with_callbacks_whose_end_was_told_is_kept_for_its_retention(worker, backend, end):
    if end.startswith("killed"):
        pk = fragile.apply_async((1,), link_error=record.si("told")).id
        worker.take()
        ledger.claim(Operation.objects.get().pk, worker_id.me(), 30, None)
        recovery.time_limit_passed(Operation.objects.get().pk, TimeoutError("limit"))
    else:
        pk = replaces_itself.apply_async((), link=record.si("told")).id
        worker.drain()
    assert Operation.objects.get(pk=pk).delivered
    worker.pass_time(100)
    sweeper.sweep()
    assert Operation.objects.filter(pk=pk).exists()
