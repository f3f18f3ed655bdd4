"""Compensation: the undoing of the synchronous half, once, in the transaction in which the operation fails."""

import pytest
from django.db import connection

from django_task_safety import idempotent_task, ledger, safe_task
from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from tests.celery import app
from tests.support.delivering import elsewhere
from tests.support.factories import OrderFactory
from tests.testapp.models import Effect, Order
from tests.testapp.tasks import double

State = Operation.State
CALLS: list[tuple[Operation, BaseException]] = []


@safe_task(max_retries=2, retry_backoff=0.01)
def pay(number: int, raises: str = "") -> None:
    Effect.objects.create(name="pay", key=str(number))
    if raises:
        raise {"transient": ConnectionError, "lasting": ValueError}[raises](raises)


@pay.compensate
def unpay(operation: Operation, exc: BaseException) -> None:
    assert connection.in_atomic_block
    CALLS.append((operation, exc))
    Order.objects.update(charged=0)


@pay.compensate
def also(operation: Operation, exc: BaseException) -> None:
    Effect.objects.create(name="also", key=operation.error)


@safe_task(max_retries=0)
def hopeless() -> None:
    raise ValueError("the task's own")


@hopeless.compensate
def explode(operation: Operation, exc: BaseException) -> None:
    Effect.objects.create(name="half done")
    raise RuntimeError("the compensation's own")


@hopeless.compensate
def comes_after(operation: Operation, exc: BaseException) -> None:
    Effect.objects.create(name="comes after")


@idempotent_task(key="key", max_retries=0)
def rerun(key: str, fail: bool) -> None:
    if fail:
        raise ValueError("no")


@rerun.compensate
def count(operation: Operation, exc: BaseException) -> None:
    Effect.objects.create(name="compensated")


@pytest.fixture(autouse=True)
def _order(worker):
    CALLS.clear()
    OrderFactory(number=1, amount=5, charged=5)


def effects() -> list[str]:
    return list(Effect.objects.order_by("pk").values_list("name", flat=True))


def test_a_compensation_is_called_once_with_the_operation_and_the_exception(worker):
    operation = pay.enqueue(1, "lasting")
    worker.drain()
    ((compensated, exc),) = CALLS
    assert (compensated.pk, compensated.state) == (operation.pk, State.FAILED)
    assert isinstance(exc, ValueError)
    assert Order.objects.get().charged == 0
    assert Effect.objects.get().key == "ValueError: lasting"


def test_a_compensation_is_called_after_the_last_attempt_only(worker):
    pay.delay(1, "transient")
    worker.drain()
    assert Operation.objects.get().attempt == 3
    assert len(CALLS) == 1


@pytest.mark.parametrize("end", ["success", "cancel"])
def test_a_compensation_is_not_called_for_a_success_or_a_cancel(worker, end):
    operation = pay.enqueue(1)
    if end == "cancel":
        operation.cancel()
    worker.drain()
    assert CALLS == []
    assert Order.objects.get().charged == 5


def test_a_compensation_is_called_when_the_last_worker_was_lost(worker):
    operation = hopeless.enqueue()
    ledger.claim(operation.pk, "dies", 30, None)
    worker.pass_time(31)
    sweeper.sweep()
    assert "comes after" in effects()


def test_a_compensation_is_called_by_apply_too(worker):
    pay.apply((1, "lasting"))
    assert len(CALLS) == 1


def test_a_copy_of_the_message_does_not_compensate_again(worker):
    pay.delay(1, "lasting")
    message = worker.take_one()
    worker.deliver(message)
    worker.deliver(message)
    assert len(CALLS) == 1


def test_a_compensation_that_raises_is_rolled_back_logged_and_noted_and_the_others_run(worker, caplog):
    hopeless.delay()
    worker.drain()
    operation = Operation.objects.get()
    assert operation.state == State.FAILED
    assert "the task's own" in operation.error
    assert "the compensation's own" in operation.error
    assert "compensation failed" in caplog.text
    assert effects() == ["comes after"]


def test_each_compensation_that_raises_is_noted(worker, monkeypatch):
    def explodes_too(operation: Operation, exc: BaseException) -> None:
        raise RuntimeError("another one's own")

    monkeypatch.setattr(hopeless, "compensations", [explode, explodes_too])
    hopeless.delay()
    worker.drain()
    for said in ("the task's own", "the compensation's own", "another one's own"):
        assert Operation.objects.get().error.count(said) == 1


def test_a_rerun_that_fails_again_is_compensated_again(worker):
    for fail in (True, True, False):
        rerun.delay("a", fail)
        worker.drain()
    assert effects() == ["compensated", "compensated"]
    assert Operation.objects.get().state == State.SUCCEEDED


def lose(operation: Operation) -> None:
    """Let a worker take the operation for the last time, and never be heard of again."""
    ledger.claim(operation.pk, "a worker that dies", 30, None)


def breaks_its_transaction(operation: Operation, exc: BaseException) -> None:
    CALLS.append((operation, exc))
    Effect.objects.create(name="half done")
    connection.close()


def breaks_it_once(operation: Operation, exc: BaseException) -> None:
    CALLS.append((operation, exc))
    if len(CALLS) == 1:
        connection.close()
    Effect.objects.create(name="done")


def test_a_compensation_runs_when_the_rest_of_the_sweep_is_committed_and_published(worker, monkeypatch):
    seen = []

    def look(operation: Operation, exc: BaseException) -> None:
        seen.append(elsewhere(lambda: Operation.objects.get(pk=other.pk).state))
        seen.append([message.headers["id"] for message in worker.take()])

    monkeypatch.setattr(hopeless, "compensations", [look])
    lost, other, queued = hopeless.enqueue(), double.enqueue(1), double.enqueue(2)
    Operation.objects.filter(pk=other.pk).update(max_attempts=1)
    worker.take()
    lose(lost)
    lose(other)
    worker.pass_time(61)
    assert sweeper.sweep().failed == 2
    assert seen == [State.FAILED, [str(queued.pk)]]


@pytest.mark.parametrize("found_by", ["worker", "sweeper"])
def test_a_compensation_that_breaks_its_transaction_is_left_out_in_the_end(worker, monkeypatch, found_by):
    monkeypatch.setattr(hopeless, "compensations", [breaks_its_transaction])
    operations = [hopeless.enqueue() for _ in range(2)]
    if found_by == "sweeper":
        worker.take()
        for operation in operations:
            lose(operation)
        worker.pass_time(31)
        sweeper.sweep()
    else:
        worker.drain()
    assert {row.state for row in Operation.objects.all()} == {State.FAILED}
    assert all("compensation failed" in row.error for row in Operation.objects.all())
    assert effects() == []
    assert len(CALLS) == 4


def test_a_compensation_that_broke_its_transaction_gets_a_second_chance(worker, monkeypatch):
    monkeypatch.setattr(hopeless, "compensations", [breaks_it_once])
    hopeless.delay()
    worker.drain()
    operation = Operation.objects.get()
    assert operation.state == State.FAILED
    assert "compensation failed" not in operation.error
    assert effects() == ["done"]


def test_a_lost_attempt_is_left_to_a_process_that_knows_its_task(worker, monkeypatch):
    lose(hopeless.enqueue())
    worker.pass_time(31)
    with monkeypatch.context() as patch:
        patch.delitem(app.tasks, hopeless.name)
        assert not sweeper.sweep()
    assert sweeper.sweep().failed == 1
    assert effects() == ["comes after"]


def test_a_lost_attempt_is_failed_in_the_end_by_a_process_that_does_not_know_its_task(worker, monkeypatch):
    lose(hopeless.enqueue())
    worker.pass_time(30 + sweeper.UNREGISTERED_GRACE)
    monkeypatch.delitem(app.tasks, hopeless.name)
    assert sweeper.sweep().failed == 1
    operation = Operation.objects.get()
    assert operation.state == State.FAILED
    assert "not registered" in operation.error


def test_lost_attempts_of_unknown_tasks_do_not_fill_up_the_batches(worker, monkeypatch, settings):
    settings.TASK_SAFETY = {"SWEEP_BATCH": 2}
    for _ in range(3):
        lose(hopeless.enqueue())
    worker.pass_time(1)
    lose(double.enqueue(1))
    worker.take()
    worker.pass_time(31)
    monkeypatch.delitem(app.tasks, hopeless.name)
    assert sweeper.sweep().requeued == 1


def test_a_function_decorated_as_a_compensation_stays_a_function():
    assert unpay.__name__ == "unpay"
    assert pay.compensations[:1] == [unpay]
    assert hopeless.compensations == [explode, comes_after]
