"""What follows a failed attempt: the next one, or the end with its compensation."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from celery.exceptions import Retry
from django.db import transaction

from django_task_safety import ledger
from django_task_safety.conf import conf
from django_task_safety.context import Attempt, RetryRequest
from django_task_safety.ledger import notifications, table
from django_task_safety.producer import outbox
from django_task_safety.producer import outcome as outcomes
from django_task_safety.record import AbstractOperation, State
from django_task_safety.registry import safe_task_named
from django_task_safety.values import codec
from django_task_safety.worker import retry_policy

if TYPE_CHECKING:
    from django_task_safety.options import Compensation, TaskOptions

logger = logging.getLogger("django_task_safety")


class OwnershipLost(Exception):
    """The settle found that this attempt does not own the operation any more: roll everything back."""


def foreign_retry(attempt: Attempt, exc: Retry) -> RetryRequest:
    """A Retry that was raised by hand: Celery would forget the task here; it is queued again."""
    cause = exc.exc if isinstance(exc.exc, BaseException) else None
    return RetryRequest(exc, retry_policy.wait_of(attempt, exc), cause)


def requeue(attempt: Attempt, request: RetryRequest) -> None:
    """Queue the next attempt with what ``self.retry()`` changed."""
    operation, task = attempt.operation, attempt.task
    values: dict[str, Any] = {}
    if request.exc is not None:
        values["error"] = codec.describe(request.exc)
    if request.max_retries is not None:
        values["max_attempts"] = request.max_retries + 1
    changed = retry_policy.changed(task, operation, request)
    announced = {"name": "retried", "reason": values.get("error", "")}
    done = ledger.requeue(operation, request.delay, {**values, **changed}, newest=bool(changed), **announced)
    if not done and changed:
        # Where somebody asked for newer work meanwhile, that is what the next attempt does.
        done = ledger.requeue(operation, request.delay, values, **announced)
    if not done:
        raise OwnershipLost
    if changed or task.on_duplicate == "replace" or task.version is not None:
        rebind_subject(operation.pk)
    if request.delay <= conf().MAX_BROKER_DELAY and not task.request.is_eager:
        publish_after_commit(operation)


def requeue_for_newer_arguments(task: TaskOptions, operation: AbstractOperation, **values: Any) -> bool:
    """Queue the operation once more, for newer work that was asked for meanwhile; False if it is not owned any more."""
    attempts = None if task.max_retries is None else task.max_retries + 1
    fresh = {"attempt": 0, "max_attempts": attempts, "result_payload": "", "started_at": None, "progress": None}
    if not ledger.requeue(operation, 0.0, {**fresh, "error": "", **values}, name="enqueued"):
        return False
    rebind_subject(operation.pk)
    if not task.app.conf.task_always_eager:
        publish_after_commit(operation)
    return True


def rebind_subject(pk: uuid.UUID) -> None:
    """Tie a queued row to the object of the arguments that wait in it; while an attempt ran, it was tied to its own.

    One that holds a lock stays tied to what it locks: newer arguments that need another lock were refused.
    """
    from django_task_safety.producer import call as calls

    row = table.find(pk=pk)
    task = safe_task_named(row.task) if row is not None else None
    if row is None or task is None or not row.subject_label or row.lock_slot is not None:
        return
    label, subject = calls.subject_in(task, row.payload)
    if (label, subject) != (row.subject_label, row.subject_id):
        found = table.rows().filter(pk=pk, state=State.QUEUED, revision=row.revision)
        found.update(subject_label=label, subject_id=subject)


def publish_after_commit(operation: AbstractOperation) -> None:
    """Publish the operation as its row says, when the transaction that changed it is committed."""
    rows = table.rows().filter(pk=operation.pk)
    transaction.on_commit(lambda: outbox.publish_rows(rows), using=conf().DATABASE, robust=True)


def fail(task: TaskOptions, operation: AbstractOperation, exc: BaseException, **values: Any) -> bool:
    """Fail the operation that this attempt owns, and compensate, in one transaction.

    Returns:
        False if it does not own it any more, or if newer work waits, which is queued.
    """
    failure, token = outcomes.failure(task, exc), operation.token

    def finish() -> AbstractOperation | None:
        # As before an earlier try that was rolled back.
        operation.token, operation.state = token, State.RUNNING
        if not ledger.finish(operation, State.FAILED, failure, newest=True, **values):
            requeue_for_newer_arguments(task, operation, error=failure.error)
            return None
        notifications.transition("failed", operation, failure.error, exc=exc)
        return operation

    return compensated(task, exc, finish)


class TransactionBroken(Exception):
    """A compensation broke the transaction that it shares with the end of its operation."""


def compensated(task: TaskOptions | None, exc: BaseException, finish: Callable[[], AbstractOperation | None]) -> bool:
    """Fail an operation and call its compensations in one transaction.

    A compensation that breaks that transaction (a deadlock, a lost connection) is tried once more in a new one, and
    then left out: the operation ends.

    Args:
        task: The task; None where it is not known.
        exc: What the operation fails with.
        end: Fails it, and returns it; None where there is nothing to end.
    """
    handlers = task.compensations if task is not None else []
    problem: BaseException | None = None
    for called in (handlers, handlers, []):
        try:
            with transaction.atomic(using=conf().DATABASE):
                operation = finish()
                if operation is not None:
                    _compensate(called, operation, exc)
                    if problem is not None and not called:
                        _note(operation, problem)
                return operation is not None
        except TransactionBroken as broken:
            problem = broken.__cause__ or broken
            logger.exception("a compensation broke its transaction")
    raise AssertionError("unreachable")


def _compensate(handlers: Sequence[Compensation], operation: AbstractOperation, exc: BaseException) -> None:
    """Call each; one that fails is rolled back, logged and noted, and the operation stays failed."""
    for handler in handlers:
        problem: Exception | None = None
        try:
            with transaction.atomic(using=conf().DATABASE):
                handler(operation, exc)
        except Exception as caught:
            problem = caught
        if table.connection().needs_rollback:
            raise TransactionBroken("It left its transaction unusable.") from problem
        if problem is not None:
            logger.error("operation %s: its compensation failed", operation.pk, exc_info=problem)
            _note(operation, problem)


def _note(operation: AbstractOperation, problem: BaseException) -> None:
    note = codec.printable(f"{operation.error} (its compensation failed: {codec.describe(problem)})")
    table.rows().filter(pk=operation.pk).update(error=note)
