"""Operations whose attempt ended without settling: lost workers, expired leases, hard time limits, revokes."""

import enum
import uuid
from collections.abc import Sequence
from functools import partial

from django.db import transaction

from django_task_safety import ledger
from django_task_safety.conf import conf
from django_task_safety.errors import OperationError, TimeLimitPassed, WorkerLost
from django_task_safety.ledger import cancellation, notifications, table, worker_id
from django_task_safety.producer import outbox, redaction
from django_task_safety.record import AbstractOperation, State
from django_task_safety.registry import safe_task_named, task_of
from django_task_safety.values import codec, masking
from django_task_safety.worker import result_backend, retry_policy
from django_task_safety.worker.compensation import compensated


class LossOutcome(enum.Enum):
    """What became of an operation whose attempt was lost."""

    QUEUED_AGAIN = enum.auto()
    FAILED = enum.auto()
    #: It had settled, or another attempt owns it: nothing to do.
    NOT_OURS = enum.auto()
    #: Its message never had a row, and never will: Celery must record the loss.
    UNKNOWN = enum.auto()


def worker_lost(pk: uuid.UUID, exc: BaseException) -> LossOutcome:
    """A child of this worker's pool died in the middle of the operation.

    The worker's main loop waits for this. So where somebody else has locked the row, its lease is left to run out.
    """
    mine = table.run_by(worker_id.me(), pk)
    operation = mine.first()
    if operation is None:
        return LossOutcome.NOT_OURS if table.by_id(pk).exists() else LossOutcome.UNKNOWN
    reason = f"The worker process was lost: {codec.text_of(exc)}"
    if retry_policy.exhausted(operation):
        return LossOutcome.FAILED if discard_one(operation, WorkerLost, reason, notified=True) else LossOutcome.NOT_OURS
    with transaction.atomic(using=conf().DATABASE):
        free = table.locked(mine.filter(token=operation.token))
        if not free or not ledger.rescue(free, reason):
            return LossOutcome.NOT_OURS
    operation.state = State.QUEUED
    notifications.transition("requeued", operation, reason)
    outbox.publish_rows(table.by_id(pk))
    return LossOutcome.QUEUED_AGAIN


def time_limit_passed(pk: uuid.UUID, exc: BaseException) -> None:
    """The pool killed the attempt at its hard time limit."""
    operation = table.run_by(worker_id.me(), pk).first()
    if operation is not None:
        # The child may hold the row until it is killed, which is soon.
        discard_one(operation, TimeLimitPassed, f"The hard time limit passed: {exc}", notified=True, wait=True)


def revoked(pk: uuid.UUID, reason: str, *, terminated: bool, expired: bool, wait: bool) -> bool:
    """Celery dropped the message: revoked by hand, or past its ``expires``. A revoke of the operation is a cancel.

    Args:
        wait: Whether to wait for somebody who has locked the row.

    Returns:
        False where somebody has, so that nothing was done.
    """
    with transaction.atomic(using=conf().DATABASE):
        found = table.locked(table.by_id(pk), wait=wait)
        if not found:
            return not table.by_id(pk).exists()
        (operation,) = found
        if expired:
            cancellation.expire(operation)
        elif operation.state == State.QUEUED or (terminated and operation.worker == worker_id.me()):
            cancellation.cancel(operation, f"revoked ({reason})")
        return True


def queue_again(lost: Sequence[AbstractOperation], reason: str) -> int:
    """Queue running operations again whose attempt is lost, return how many; the caller holds and publishes them."""
    if not lost:
        return 0
    queued = ledger.rescue(lost, reason)
    for row in lost:
        row.state = State.QUEUED
        notifications.transition("requeued", row, reason)
    return queued


def discard_exhausted(lost: Sequence[AbstractOperation], error: type[OperationError], reason: str) -> int:
    """Fail operations that cannot be attempted any more, and that a sweep holds; without compensations.

    Where somebody asked for newer work meanwhile, that is queued instead.

    Returns:
        How many were failed; those that changed since they were seen are left alone.
    """
    if not lost:
        return 0
    with transaction.atomic(using=conf().DATABASE):
        return len(_fail(lost, error, reason, notified=False))


def discard_one(
    operation: AbstractOperation, error: type[OperationError], reason: str, *, notified: bool, wait: bool = False
) -> bool:
    """Fail one operation and call its compensations, in a transaction of its own; return whether this did it.

    Args:
        notified: Whether Celery itself tells the result backend, callbacks and chord; else a sweep does.
        wait: Whether to wait for somebody who has locked the row, instead of leaving the operation alone.
    """

    def finish() -> AbstractOperation | None:
        failed = _fail([operation], error, reason, notified=notified, wait=wait)
        return failed[0] if failed else None

    task = task_of(operation) or safe_task_named(operation.task)
    with masking.hiding(redaction.hidden_of(task, operation)):
        return compensated(task, error(reason, operation), finish)


def _fail(
    lost: Sequence[AbstractOperation],
    error: type[OperationError],
    reason: str,
    *,
    notified: bool,
    wait: bool = False,
) -> list[AbstractOperation]:
    failure = ledger.Failure(f"{error.__name__}: {codec.printable(reason)}")
    seen = {operation.pk: operation.token for operation in lost}
    # The lock holds what was seen until the statement that ends it.
    still = table.locked(table.by_id(*seen), wait=wait)
    same = [row for row in still if row.is_pending and row.token == seen[row.pk]]
    overtaken = [row for row in same if table.newer_waits(row)]
    _requeue_for_newer_arguments(overtaken, failure.error, notified=notified)
    same = [row for row in same if row not in overtaken]
    if not same:
        return []
    target = table.by_id(*(row.pk for row in same))
    running = [row for row in same if row.state == State.RUNNING]
    ledger.discard_exhausted(target, failure, delivered=notified, lost=running)
    for row in same:
        row.state, row.error = State.FAILED, failure.error
        notifications.transition("failed", row, failure.error, exc=error(reason, row), logged=notified)
    return same


def _requeue_for_newer_arguments(overtaken: Sequence[AbstractOperation], error: str, *, notified: bool) -> None:
    """Queue operations once more, for newer work that was asked for meanwhile."""
    if queue_again(overtaken, error):
        transaction.on_commit(partial(_publish, overtaken, notified), using=conf().DATABASE, robust=True)


def _publish(overtaken: Sequence[AbstractOperation], notified: bool) -> None:
    for operation in overtaken if notified else ():
        # Celery has told of their end.
        if task := task_of(operation):
            result_backend.forget(task, operation)
    outbox.publish_rows(table.by_id(*(row.pk for row in overtaken)))
