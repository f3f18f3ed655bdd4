"""What exits, or is rejected: Celery tells nobody how such an operation ended, so the next sweep does."""

import sys
from asyncio import CancelledError
from collections.abc import Callable
from typing import Any

import pytest
from celery import chain
from celery.exceptions import Reject
from django.db import transaction

from django_task_safety import ledger, safe_task
from django_task_safety.models import Operation
from django_task_safety.signals import operation_failed
from django_task_safety.worker import sweeper
from tests.support.operations import only
from tests.testapp.models import Effect
from tests.testapp.tasks import effect, record

State = Operation.State


@safe_task(max_retries=0)
def exits(where: str = "body") -> str:
    effect("exits", where)
    if where == "body":
        sys.exit(3)
    transaction.on_commit(sys.exit)
    return "returned"


@safe_task(max_retries=0)
def compensated() -> None:
    raise ValueError("the task's own")


#: What ends its process, or its greenlet: whatever no ``except Exception`` catches.
EXITS: list[BaseException] = [SystemExit("no"), KeyboardInterrupt("no"), GeneratorExit("no"), CancelledError("no")]
every_exit = pytest.mark.parametrize("raised", EXITS, ids=lambda exc: type(exc).__name__)
RAISED: list[BaseException] = []


@compensated.compensate
def exits_too(operation: Operation, exc: BaseException) -> None:
    effect("half done")
    raise RAISED[-1]


@safe_task
def rejects(requeue: bool) -> None:
    raise Reject("cannot", requeue=requeue)


@safe_task(max_retries=0)
def raises() -> None:
    raise ValueError("no")


@safe_task(bind=True, max_retries=1)
def retries_with_an_exit(self) -> None:
    raise self.retry(exc=SystemExit("enough"), countdown=0)


@pytest.fixture
def deliver(worker) -> Callable[..., None]:
    """Deliver the only message, by which a process would end; a pool without processes acknowledges it, and goes on."""

    def deliver() -> None:
        delivery = worker.deliver_one()
        assert (delivery.state or "", delivery.acknowledged) == ("", True)

    return deliver


def test_who_waits_for_a_body_that_exits_hears_of_its_failure(deliver):
    result = exits.delay()
    deliver()
    assert (only().state, only().error) == (State.FAILED, "SystemExit: 3")
    sweeper.sweep()
    with pytest.raises(Exception, match="SystemExit: 3"):
        result.get(timeout=1)
    assert not Effect.objects.exists()


def test_who_waits_for_a_body_whose_hook_exits_after_the_commit_gets_its_result(deliver):
    result = exits.delay("hook")
    deliver()
    assert only().state == State.SUCCEEDED
    sweeper.sweep()
    assert result.get(timeout=1) == "returned"
    assert Effect.objects.count() == 1


def test_what_a_sweep_has_told_is_told_once(deliver):
    exits.delay("hook")
    deliver()
    assert sweeper.sweep().notified == 1
    assert not sweeper.sweep()


@pytest.mark.parametrize(("where", "called"), [("body", "failed"), ("hook", "succeeded")])
def test_callbacks_of_what_exits_are_called_once(worker, deliver, where, called):
    exits.apply_async((where,), link=record.si("succeeded"), link_error=record.si("failed"))
    deliver()
    sweeper.sweep()
    worker.drain()
    worker.finish()
    assert list(Effect.objects.exclude(name="exits").values_list("name", flat=True)) == [called]


def test_a_chain_goes_on_past_a_step_whose_hook_exits(worker, deliver):
    chain(exits.si("hook"), record.si("next")).delay()
    deliver()
    sweeper.sweep()
    worker.finish()
    assert set(Effect.objects.values_list("name", flat=True)) == {"exits", "next"}


@pytest.mark.parametrize("requeue", [False, True])
def test_who_waits_for_what_is_rejected_hears_of_its_failure(worker, requeue):
    result = rejects.delay(requeue)
    message = worker.take_one()
    delivery = worker.deliver(message)
    assert (delivery.rejected, delivery.requeued) == (True, requeue)
    if requeue:
        assert worker.deliver(message).acknowledged
    worker.pass_time(61)
    sweeper.sweep()
    assert (only().state, only().delivered) == (State.FAILED, True)
    assert result.state == "FAILURE"


@pytest.mark.parametrize("requeue", [False, True])
def test_errbacks_of_what_is_rejected_are_called_once(worker, requeue):
    rejects.apply_async((requeue,), link_error=record.si("failed"))
    message = worker.take_one()
    worker.deliver(message)
    if requeue:
        worker.deliver(message)
    for _ in range(3):
        worker.drain()
        worker.pass_time(61)
        sweeper.sweep()
    assert list(Effect.objects.values_list("name", flat=True)) == ["failed"]


@every_exit
def test_a_compensation_that_exits_leaves_the_operation_failed(worker, raised):
    RAISED.append(raised)
    compensated.delay()
    worker.deliver_one()
    assert only().state == State.FAILED
    assert "ValueError: the task's own" in only().error
    assert f"its compensation failed: {type(raised).__name__}: no" in only().error
    assert not Effect.objects.exists()


@every_exit
def test_a_compensation_that_exits_does_not_end_the_sweeper(worker, raised):
    RAISED.append(raised)
    operation = compensated.enqueue()
    ledger.claim(operation.pk, "dies", 30, None)
    worker.pass_time(31)
    sweeper.sweep()
    assert only().state == State.FAILED
    assert f"{type(raised).__name__}: no" in only().error


@every_exit
def test_who_waits_hears_of_a_failure_whose_receiver_exits(deliver, raised):
    def leave(**kwargs: Any) -> None:
        raise raised

    result = raises.delay()
    operation_failed.connect(leave)
    try:
        deliver()
    finally:
        operation_failed.disconnect(leave)
    assert only().state == State.FAILED
    sweeper.sweep()
    assert result.state == "FAILURE"


def test_who_waits_hears_of_retries_that_end_with_an_exit(worker):
    result = retries_with_an_exit.delay()
    worker.finish()
    sweeper.sweep()
    assert (only().state, only().attempt, only().error) == (State.FAILED, 2, "SystemExit: enough")
    with pytest.raises(Exception, match="SystemExit: enough"):
        result.get(timeout=1)
