"""What follows a failed attempt: the next one, or the end with its compensation."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celery.exceptions import Retry
from django.db import transaction

from django_task_safety import announce, codec, ledger, outbox, replay, retries, table
from django_task_safety.conf import conf
from django_task_safety.context import Attempt, RetryRequest
from django_task_safety.models import Operation

if TYPE_CHECKING:
    from django_task_safety.tasks import SafeTask

logger = logging.getLogger("django_task_safety")
State = Operation.State


class Fenced(Exception):
    """The settle found that this attempt does not own the operation any more: roll everything back."""


def foreign_retry(attempt: Attempt, exc: Retry) -> RetryRequest:
    """A Retry that was raised by hand: Celery would forget the task here; it is queued again with the usual wait."""
    delay = exc.when if isinstance(exc.when, int | float) else retries.polite(attempt.task, attempt.operation, exc.exc)
    return RetryRequest(exc, float(delay), exc.exc if isinstance(exc.exc, BaseException) else None)


def hand_back(attempt: Attempt, request: RetryRequest) -> None:
    """Queue the next attempt with what ``self.retry()`` changed."""
    operation, task = attempt.operation, attempt.task
    values: dict[str, Any] = {}
    if request.exc is not None:
        values["error"] = codec.describe(request.exc)
    if request.max_retries is not None:
        values["max_attempts"] = request.max_retries + 1
    if request.args is not None or request.kwargs is not None or request.options:
        values.update(_changed(task, operation, request))
    if not ledger.hand_back(operation, request.delay, values, name="retried", reason=values.get("error", "")):
        raise Fenced
    if request.delay <= conf().MAX_BROKER_DELAY:
        publish = table.rows().filter(pk=operation.pk)
        transaction.on_commit(lambda: outbox.publish_rows(publish), using=conf().DATABASE, robust=True) if not (
            task.request.is_eager
        ) else None


def _changed(task: SafeTask, operation: Operation, request: RetryRequest) -> dict[str, Any]:
    from django_task_safety import calls

    args, kwargs = codec.loads(operation.payload, task.app)
    options = codec.loads(operation.options) if operation.options else {}
    made = calls.make(
        task,
        args if request.args is None else request.args,
        kwargs if request.kwargs is None else request.kwargs,
        {**options, **request.options},
    )
    return {
        "payload": made.payload,
        "options": made.operation.options,
        "delivered": made.operation.delivered,
        "revision": operation.revision + 1,
    }


def fail(task: SafeTask, operation: Operation, exc: BaseException, **values: Any) -> bool:
    """Fail the operation that this attempt owns, and compensate, in one transaction; False if it does not own it."""
    failure = replay.failure(task, exc)
    with transaction.atomic(using=conf().DATABASE):
        if not ledger.end(operation, State.FAILED, failure, **values):
            return False
        compensate(task, operation, exc)
        announce.transition("failed", operation, failure.error, exc=exc)
    return True


def compensate(task: SafeTask, operation: Operation, exc: BaseException) -> None:
    """Call the task's compensations in the transaction in which the operation failed.

    One that fails itself is rolled back, logged, and noted in the operation's error; the operation stays failed.
    """
    for handler in task.compensations:
        try:
            with transaction.atomic(using=conf().DATABASE):
                handler(operation, exc)
        except Exception as problem:
            logger.exception("operation %s: its compensation failed", operation.pk)
            note = codec.printable(f"{operation.error} (its compensation failed: {codec.describe(problem)})")
            table.rows().filter(pk=operation.pk).update(error=note)
