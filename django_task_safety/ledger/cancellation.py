"""Cancel operations: a committed row, which every claim and every settle looks at."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from celery import current_app, states
from celery.backends.base import DisabledBackend
from django.db import transaction

from django_task_safety import ledger
from django_task_safety.conf import conf
from django_task_safety.ledger import notifications, result_backend, table
from django_task_safety.record import AbstractOperation, State, read_operation
from django_task_safety.registry import safe_task_named
from django_task_safety.values.clock import Now

if TYPE_CHECKING:
    from django_task_safety.record import OperationRows


EXPIRED = "expired before it started"
#: The result backend is told of so many at once; of the rest when their messages reach a worker.
TOLD = 200
#: What is read of the operations that are cancelled together, in the order of the columns.
_ANNOUNCED = ("id", "task", "key", "waits_for", "attempt")


def cancel(operation: AbstractOperation, reason: str) -> bool:
    """Cancel one operation in the current transaction; return whether it was pending."""
    return _cancel(operation, table.rows().filter(pk=operation.pk), reason)


def expire(operation: AbstractOperation) -> bool:
    """Cancel an operation that has not started by its ``expires``; return whether that was so."""
    late = table.rows().filter(pk=operation.pk, state=State.QUEUED, attempt=0, expires_at__lte=Now())
    return _cancel(operation, late, EXPIRED)


def _cancel(operation: AbstractOperation, found: OperationRows, reason: str) -> bool:
    reason = str(reason)  # also a translation that waits, or an exception
    if not ledger.cancel(found, reason):
        return False
    operation.state, operation.error, operation.token = State.CANCELLED, reason, None
    for name in ("ended_at", "due_at"):
        operation.__dict__.pop(name, None)
    notifications.transition("cancelled", operation, reason)
    transaction.on_commit(partial(_tell, [operation], reason), using=conf().DATABASE, robust=True)
    return True


def cancel_all(found: OperationRows, reason: str) -> int:
    """Cancel the pending ones among those found, in the current transaction; return how many.

    The number of statements does not depend on how many there are.
    """
    reason = str(reason)
    if found.query.is_sliced:
        found = table.rows().filter(pk__in=list(found.values_list("pk", flat=True)))
    pending = found.order_by().pending()
    if not notifications.heard("cancelled") and isinstance(current_app.backend, DisabledBackend):
        return ledger.cancel(pending, reason)
    rows, cancelled = table.retry_on_deadlock(partial(_cancel_locked, pending, reason))
    transaction.on_commit(partial(_announce, rows, reason), using=conf().DATABASE, robust=True)
    return cancelled


def _cancel_locked(pending: OperationRows, reason: str) -> tuple[list[tuple[Any, ...]], int]:
    with transaction.atomic(using=conf().DATABASE):
        # Locked first, so that exactly those are announced that are cancelled.
        locked = pending.select_for_update().values_list(*_ANNOUNCED)
        rows = list(locked.order_by("pk") if notifications.heard("cancelled") else locked[:TOLD])
        return rows, ledger.cancel(pending, reason) if rows else 0


def _announce(rows: list[tuple[Any, ...]], reason: str) -> None:
    operations = [read_operation(conf().DATABASE, _ANNOUNCED, row) for row in rows]
    for operation in operations:
        operation.state, operation.error, operation.token = State.CANCELLED, reason, None
        notifications.now("cancelled", operation, reason)
    _tell(operations[:TOLD], reason)


def _tell(operations: list[AbstractOperation], reason: str) -> None:
    """Who waits for a result hears of it now; chords and callbacks do when the message reaches a worker."""
    for operation in operations:
        task = safe_task_named(operation.task)
        if task is not None and not result_backend.tell(task, operation, _revoked(reason), states.REVOKED):
            return


def _revoked(reason: str) -> Exception:
    from celery.exceptions import TaskRevokedError

    return TaskRevokedError(reason)
