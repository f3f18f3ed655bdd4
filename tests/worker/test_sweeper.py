"""The slow path: a lost message, or a lost worker, costs a delay and never the work."""

import re
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from kombu.exceptions import OperationalError
from kombu.messaging import Producer

from django_task_safety import ledger, safe_task
from django_task_safety.ledger import schedule
from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from tests.support.delivering import about_operations, statements
from tests.support.operations import only
from tests.testapp.models import Effect
from tests.testapp.tasks import add, double, record

State = Operation.State
DAY = 86_400


@safe_task(max_retries=2)
def often(name: str = "") -> str:
    return name


@safe_task(time_limit=5, soft_time_limit=4)
def limited() -> None: ...


@safe_task(max_retries=0)
def keeps_its_promise() -> None:
    raise ValueError("no")


@keeps_its_promise.compensate
def _compensate(operation: Operation, exc: BaseException) -> None:
    Effect.objects.create(name="compensated", key=type(exc).__name__)


def claim(operation: Operation, lease: float = 30, limit: float | None = None) -> Operation:
    """Take the operation as an attempt does that is never heard of again."""
    seen = ledger.claim(operation.pk, "a worker that dies", lease, limit)
    assert seen is not None
    assert seen.claimed
    return seen.operation


def test_at_rest_a_sweep_is_one_query(worker):
    add.enqueue_many([(n,) for n in range(50)])
    worker.take()
    with statements() as found:
        assert not sweeper.sweep()
    assert len(found) == 1, found


@pytest.mark.skipif(connection.vendor == "mysql", reason="its planner reads the whole of a small table")
def test_the_query_of_a_sweep_at_rest_reads_what_is_due_and_no_ended_rows(worker):
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET enable_seqscan = off")
        with statements() as found:
            sweeper.sweep()
        (query,) = found
        cursor.execute(f"EXPLAIN {'QUERY PLAN ' * (connection.vendor == 'sqlite')}{query}")
        plan = str(cursor.fetchall())
        if connection.vendor == "postgresql":
            cursor.execute("RESET enable_seqscan")
    assert re.search(r"SEARCH .* USING .*INDEX \w*due_at\w* \(due_at<|Index Cond: \(due_at <=", plan), plan


def test_a_lost_message_is_published_again(worker):
    operation = record.enqueue("a")
    worker.take()
    worker.pass_time(59)
    assert sweeper.sweep().published == 0
    worker.pass_time(2)
    assert sweeper.sweep().published == 1
    worker.drain()
    assert Operation.objects.get(pk=operation.pk).state == State.SUCCEEDED


def test_a_lost_message_is_published_again_at_growing_intervals(worker):
    record.delay("a")
    worker.take()
    gaps, last = [], 0.0
    while len(gaps) < 7:
        worker.pass_time(30)
        if sweeper.sweep().published:
            gaps.append(worker.ahead - last)
            last = worker.ahead
    assert len(worker.take()) == 7
    assert gaps[0] <= 90
    assert gaps[1:5] == sorted(gaps[1:5])
    assert gaps[4] > 4 * gaps[1]
    assert max(gaps) <= 60 * 16 + 60


def test_the_copies_that_a_sweep_published_run_once(worker):
    record.delay("a")
    worker.pass_time(61)
    sweeper.sweep()
    messages = worker.take()
    assert len(messages) == 2
    for message in messages:
        worker.deliver(message)
    assert Effect.objects.count() == 1


def test_a_call_made_while_the_broker_was_down_is_published_soon(worker, monkeypatch):
    def refuse(*args, **kwargs):
        raise OperationalError("down")

    monkeypatch.setattr("django_task_safety.producer.outbox.PAUSE", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(Producer, "publish", refuse)
        record.delay("a")
        worker.pass_time(6)
        assert sweeper.sweep().published == 0
        assert only().republished == 0
    worker.pass_time(6)
    assert sweeper.sweep().published == 1
    worker.drain()
    assert only().state == State.SUCCEEDED


def test_a_long_countdown_is_published_when_it_has_passed(worker):
    record.apply_async(("a",), countdown=7200)
    worker.pass_time(7190)
    assert sweeper.sweep().published == 0
    worker.pass_time(11)
    assert sweeper.sweep().published == 1
    worker.drain()
    assert only().state == State.SUCCEEDED


def test_the_attempt_of_a_lost_worker_is_queued_again(worker):
    operation = record.enqueue("a")
    lost = claim(operation)
    worker.take()
    worker.pass_time(29)
    assert not sweeper.sweep()
    worker.pass_time(2)
    assert sweeper.sweep().requeued == 1
    assert (only().state, only().attempt, only().token) == (State.QUEUED, 1, None)
    assert "lost" in only().error
    worker.drain()
    assert (only().state, only().attempt, only().error) == (State.SUCCEEDED, 2, "")
    assert not ledger.settle(lost, '"late"')


def test_the_sweeper_leaves_a_renewed_lease_alone(worker):
    operation = claim(record.enqueue("a"))
    worker.take()
    worker.pass_time(20)
    schedule.renew([operation.pk], "a worker that dies", 30)
    worker.pass_time(20)
    assert not sweeper.sweep()
    assert only().state == State.RUNNING


def test_a_poison_task_fails_after_its_attempts_with_the_reason(worker):
    operation = often.enqueue("a")
    worker.take()
    for number in (1, 2, 3):
        assert claim(operation).attempt == number
        worker.pass_time(31)
        swept = sweeper.sweep()
    assert (swept.failed, swept.requeued) == (1, 0)
    assert only().state == State.FAILED
    assert "lost" in only().error
    assert "3" in only().error
    assert only().ended_at is not None
    worker.drain()
    assert only().state == State.FAILED


def test_an_attempt_past_its_time_limit_is_not_queued_again(worker):
    claim(limited.enqueue(), lease=30, limit=15)
    worker.take()
    worker.pass_time(16)
    assert sweeper.sweep().failed == 1
    assert only().state == State.FAILED
    assert "limit" in only().error


def test_the_sweeper_compensates_once_where_the_attempts_are_spent(worker):
    claim(keeps_its_promise.enqueue())
    worker.pass_time(31)
    assert sweeper.sweep().failed == 1
    assert sweeper.sweep().failed == 0
    assert Effect.objects.get().key == "WorkerLost"


def test_the_sweeper_cancels_what_expired(worker):
    for number in range(3):
        record.apply_async((number,), expires=30)
    worker.take()
    worker.pass_time(31)
    assert sweeper.sweep().cancelled == 3
    assert set(Operation.objects.values_list("state", flat=True)) == {State.CANCELLED}


@pytest.mark.parametrize("kind", ["queued", "running", "spent", "expired", "ended"])
def test_the_sweep_of_a_batch_takes_a_constant_number_of_statements(worker, kind):
    def count(number: int) -> int:
        Operation.all_rows.all().delete()
        make(kind, number)
        worker.take()
        worker.pass_time(31 * DAY if kind == "ended" else 61)
        with statements() as found:
            assert sum(vars_of(sweeper.sweep())) >= number
        worker.take()
        return len(about_operations(found))

    def make(kind: str, number: int) -> None:
        operations = record.enqueue_many([(n,) for n in range(number)])
        if kind == "spent":
            Operation.all_rows.update(max_attempts=1)
        if kind in ("running", "spent"):
            for operation in operations:
                claim(operation)
        if kind == "expired":
            Operation.all_rows.update(expires_at=operations[0].created_at + timedelta(seconds=30))
        if kind == "ended":
            Operation.objects.cancel()

    assert count(2) == count(60)


def vars_of(swept: sweeper.Swept) -> list[int]:
    return [getattr(swept, name) for name in ("published", "requeued", "failed", "cancelled", "pruned")]


def test_more_than_one_batch_is_swept_at_once(worker, settings):
    settings.TASK_SAFETY = {"SWEEP_BATCH": 5}
    double.enqueue_many([(n,) for n in range(13)])
    worker.take()
    worker.pass_time(61)
    assert sweeper.sweep().published == 13
    assert len(worker.take()) == 13


def test_a_row_whose_task_is_unknown_does_not_hold_up_the_others(worker, caplog):
    unknown = record.enqueue("unknown")
    Operation.all_rows.filter(pk=unknown.pk).update(task="no.such.task")
    record.delay("known")
    worker.take()
    worker.pass_time(121)
    assert sweeper.sweep().published == 1
    assert "no.such.task" in caplog.text
    worker.drain()
    assert Operation.objects.exclude(pk=unknown.pk).get().state == State.SUCCEEDED


def test_a_chain_goes_on_when_the_worker_died_after_the_commit(worker):
    (double.s(1) | double.s()).apply_async()
    message = worker.take_one()
    operation = claim(Operation.objects.get())
    assert ledger.settle(operation, "2")
    worker.pass_time(61)
    assert sweeper.sweep().published == 1
    assert message.headers["id"] == str(operation.pk)
    worker.drain()
    assert sorted(row.result for row in Operation.objects.all()) == [2, 4]


def test_the_command_task_safety_sweep_says_what_it_did(worker, capsys):
    record.delay("a")
    worker.take()
    worker.pass_time(61)
    call_command("task_safety", "sweep")
    assert "published 1" in capsys.readouterr().out
    assert len(worker.take()) == 1


def test_an_operation_that_can_never_be_published_fails_with_the_reason(worker):
    operation = record.enqueue("a")
    Operation.all_rows.update(payload="!application/x-unheard-of!binary!AAAA")
    worker.pass_time(61)
    assert sweeper.sweep().failed == 1
    operation.refresh_from_db()
    assert operation.state == State.FAILED
    assert "cannot be published" in operation.error
