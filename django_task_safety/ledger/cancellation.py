"""Cancel operations: a committed row, which every claim and every settle looks at.

Nobody else is told here. Who waits for the outcome hears of it from a worker: of the one that meets the operation's own
message, or of the next that sweeps.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import Q, Value

from django_task_safety import ledger
from django_task_safety.conf import conf
from django_task_safety.ledger import notifications, object_gone, parents, table
from django_task_safety.record import AbstractOperation, OperationRows, State, read_operation
from django_task_safety.values.clock import Now

EXPIRED = "expired before it started"
#: What is read of the operations that are cancelled together, in the order of the columns.
_ANNOUNCED = ("id", "task", "key", "parent_id", "waits_for", "attempt")


def cancel(operation: AbstractOperation, reason: str, by: Any = None) -> bool:
    """Cancel one operation, and what is pending of its chunks, in the current transaction; return whether it was
    pending."""
    found = table.rows().filter(pk=operation.pk)
    if operation.task != parents.SPLIT:
        return _cancel(operation, found, reason, by)
    with transaction.atomic(using=conf().DATABASE):
        cancelled = _cancel(operation, found, reason, by)
        if cancelled:
            _cancel_rows(parents.chunks(operation.pk), str(reason), by)
        return cancelled


def expire(operation: AbstractOperation) -> bool:
    """Cancel an operation that has not started by its ``expires``; return whether that was so."""
    late = table.rows().filter(pk=operation.pk, state=State.QUEUED, attempt=0, expires_at__lte=Now())
    return _cancel(operation, late, EXPIRED)


def _cancel(operation: AbstractOperation, found: OperationRows, reason: str, by: Any = None) -> bool:
    reason = str(reason)  # also a translation that waits, or an exception
    if not ledger.cancel(found, reason, by):
        return False
    operation.state, operation.error, operation.token = State.CANCELLED, reason, None
    for name in ("ended_at", "due_at", "delivered", "history"):
        operation.__dict__.pop(name, None)
    notifications.transition("cancelled", operation, reason)
    parents.chunk_ended(operation)
    return True


def cancel_all(found: OperationRows, reason: str, by: Any = None) -> int:
    """Cancel the pending ones among those found, and what is pending of their chunks, in the current transaction;
    return how many of those found.

    The number of statements does not depend on how many there are.
    """
    reason = str(reason)
    if found.query.is_sliced:
        found = table.rows().filter(pk__in=list(found.values_list("pk", flat=True)))
    split = list(found.order_by().pending().filter(task=parents.SPLIT).values_list("pk", flat=True))
    if not split:
        return _cancel_rows(found, reason, by)
    with transaction.atomic(using=conf().DATABASE):
        held = table.locked(table.by_id(*split).pending(), wait=True)
        cancelled = _cancel_rows(found, reason, by)
        _cancel_rows(parents.chunks(*(row.pk for row in held)), reason, by)
        return cancelled


def _cancel_rows(found: OperationRows, reason: str, by: Any) -> int:
    pending = found.order_by().pending()
    return _cancel_all(pending, partial(ledger.cancel, pending, reason, by), reason)


def cancel_with_object(found: OperationRows, reason: str) -> None:
    """Cancel the pending ones among those found, whose object goes; those that have other work go on with that."""
    pending = found.order_by().pending()
    _cancel_all(
        pending, partial(ledger.cancel_with_object, pending, reason), reason, spared=object_gone.newer_elsewhere()
    )


def _cancel_all(pending: OperationRows, cancel_now: Callable[[], int], reason: str, spared: Q | None = None) -> int:
    if not notifications.heard("cancelled"):
        return cancel_now()
    rows, cancelled = table.retry_on_deadlock(partial(_cancel_locked, pending, cancel_now, spared))
    transaction.on_commit(partial(_announce, rows, reason), using=conf().DATABASE, robust=True)
    return cancelled


def _cancel_locked(
    pending: OperationRows, cancel_now: Callable[[], int], spared: Q | None
) -> tuple[list[tuple[Any, ...]], int]:
    with transaction.atomic(using=conf().DATABASE):
        # Locked first, so that exactly those are announced that are cancelled.
        locked = pending.select_for_update().order_by("pk").annotate(_spared=spared or Value(False))
        rows = list(locked.values_list(*_ANNOUNCED, "_spared"))
        return [row[:-1] for row in rows if not row[-1]], cancel_now() if rows else 0


def _announce(rows: list[tuple[Any, ...]], reason: str) -> None:
    for row in rows:
        operation = read_operation(conf().DATABASE, _ANNOUNCED, row)
        operation.state, operation.error, operation.token = State.CANCELLED, reason, None
        notifications.now("cancelled", operation, reason)
    for pk in {row[_ANNOUNCED.index("parent_id")] for row in rows} - {None}:
        parents.settle_parent(pk)
