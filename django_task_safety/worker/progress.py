"""Progress and cancellation inside a task, seen from outside its transaction."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sized
from typing import TYPE_CHECKING, TypeVar

from django.db import OperationalError

from django_task_safety.context import current_attempt

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    from django_task_safety.record import AbstractOperation

T = TypeVar("T")

#: `track` reports at most once in this many seconds.
INTERVAL = 1.0


def track(iterable: Iterable[T], total: int | None = None) -> Iterator[T]:
    """Yield the items, report progress at most once a second, and stop when the operation was cancelled.

    Outside a running operation the items just pass through.

    Args:
        iterable: The items.
        total: How many there are; by default ``len(iterable)`` where it has one.

    Raises:
        OperationCancelled: At the first item after the cancellation was noticed.
    """
    attempt = current_attempt()
    if attempt is None:
        yield from iterable
        return
    total = len(iterable) if total is None and isinstance(iterable, Sized) else total
    for done, item in enumerate(iterable):
        if time.monotonic() - attempt.last_report >= INTERVAL:
            attempt.last_report = time.monotonic()
            _record(attempt.operation, None if total is None else _fraction(done, total), "" if total else f"{done}")
        yield item


def report(operation: AbstractOperation, current: float, total: float | None, message: str = "") -> None:
    """Record progress in a statement that also finds out whether the attempt should stop."""
    fraction = _fraction(current, total)
    _record(operation, fraction, message or (f"{current:g}" if fraction is None else ""))


def _record(operation: AbstractOperation, fraction: float | None, message: str) -> None:
    from django_task_safety.ledger import statements
    from django_task_safety.values import codec

    text = codec.printable(message, 255)
    operation.progress, operation.progress_message = fraction, text
    connection, attempt = _connection(), current_attempt()
    side = None if attempt is None else attempt.side
    try:
        written = statements.report(connection, operation.pk, operation.token, fraction, text, wait=side is None)
    except OperationalError:
        if side is None:
            raise
        side.close()  # the next report connects anew; progress is not worth a failed attempt
        return
    # Who else holds the row, the body's own transaction it may be, lets nobody see progress now.
    if not written and not statements.owned(connection, operation.pk, operation.token):
        _stop(operation)


def _fraction(current: float, total: float | None) -> float | None:
    if total is None:
        return float(current) if 0 <= current <= 1 else None
    return min(1.0, max(0.0, current / total)) if total > 0 else 1.0


def check_cancelled(operation: AbstractOperation) -> None:
    """Raise `OperationCancelled` unless this attempt still owns the operation."""
    from django_task_safety.ledger import statements

    if not statements.owned(_connection(), operation.pk, operation.token):
        _stop(operation)


def _stop(operation: AbstractOperation) -> None:
    from django_task_safety.errors import OperationCancelled, OperationSuperseded
    from django_task_safety.ledger import statements

    state, reason = statements.outcome(_connection(), operation.pk) or (None, "")
    if state == operation.State.CANCELLED:
        operation.state = operation.State.CANCELLED
        raise OperationCancelled(reason or "Cancelled", operation)
    raise OperationSuperseded("This attempt does not own the operation any more", operation)


def _connection() -> BaseDatabaseWrapper:
    """Return a connection outside the body's transaction, where there is one and the database allows it."""
    from django_task_safety.ledger import own_connections, table

    attempt = current_attempt()
    main = table.connection()
    if attempt is None or not attempt.own_transaction or main.vendor == "sqlite":
        # SQLite has one writer: a second connection would wait for the body's own transaction.
        return main
    if attempt.side is None:
        attempt.side = own_connections.outside_pool(main.alias)
    side: BaseDatabaseWrapper = attempt.side
    return side
