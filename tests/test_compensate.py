"""Compensation: the undoing of the synchronous half, once, in the transaction in which the operation fails."""

import pytest
from django.db import connection

from django_task_safety import idempotent_task, ledger, safe_task, sweeper
from django_task_safety.models import Operation
from tests.testapp.models import Effect, Order

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
    Order.objects.create(number=1, amount=5, charged=5)


def effects() -> list[str]:
    return list(Effect.objects.order_by("pk").values_list("name", flat=True))


def test_it_is_called_once_with_the_operation_and_the_exception(worker):
    operation = pay.enqueue(1, "lasting")
    worker.drain()
    ((compensated, exc),) = CALLS
    assert (compensated.pk, compensated.state) == (operation.pk, State.FAILED)
    assert isinstance(exc, ValueError)
    assert Order.objects.get().charged == 0
    assert Effect.objects.get().key == "ValueError: lasting"


def test_it_is_called_after_the_last_attempt_only(worker):
    pay.delay(1, "transient")
    worker.drain()
    assert Operation.objects.get().attempt == 3
    assert len(CALLS) == 1


@pytest.mark.parametrize("end", ["success", "cancel"])
def test_it_is_not_called_for_a_success_or_a_cancel(worker, end):
    operation = pay.enqueue(1)
    if end == "cancel":
        operation.cancel()
    worker.drain()
    assert CALLS == []
    assert Order.objects.get().charged == 5


def test_it_is_called_when_the_last_worker_was_lost(worker):
    operation = hopeless.enqueue()
    ledger.claim(operation.pk, "dies", 30, None)
    worker.pass_time(31)
    sweeper.sweep()
    assert "comes after" in effects()


def test_it_is_called_by_apply_too(worker):
    pay.apply((1, "lasting"))
    assert len(CALLS) == 1


def test_a_copy_of_the_message_does_not_call_it_again(worker):
    pay.delay(1, "lasting")
    message = worker.take_one()
    worker.deliver(message)
    worker.deliver(message)
    assert len(CALLS) == 1


def test_one_that_raises_is_rolled_back_logged_and_noted_and_the_others_run(worker, caplog):
    hopeless.delay()
    worker.drain()
    operation = Operation.objects.get()
    assert operation.state == State.FAILED
    assert "the task's own" in operation.error
    assert "the compensation's own" in operation.error
    assert "compensation failed" in caplog.text
    assert effects() == ["comes after"]


def test_a_rerun_that_fails_again_is_compensated_again(worker):
    for fail in (True, True, False):
        rerun.delay("a", fail)
        worker.drain()
    assert effects() == ["compensated", "compensated"]
    assert Operation.objects.get().state == State.SUCCEEDED


def test_the_decorated_function_stays_a_function():
    assert unpay.__name__ == "unpay"
    assert pay.compensations[:1] == [unpay]
    assert hopeless.compensations == [explode, comes_after]
