"""Progress and cancellation inside a task, seen from outside its transaction.

The row says it, and so does the result backend, for those who have a handle of the task and no row: as the state
``PROGRESS`` that Celery's documentation has for it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

from django.db import OperationalError

from django_task_safety.context import current_attempt

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    from django_task_safety.options import TaskOptions
    from django_task_safety.record import AbstractOperation

T = TypeVar("T")

#: `track` reports at most once in this many seconds.
INTERVAL = 1.0
#: Celery's conventional state of a task that says how far it is.
PROGRESS = "PROGRESS"
#: Where such a state's meta-data has a text for people.
_MESSAGES = ("message", "description", "status")


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
            _tell_result_backend(attempt.operation, done, total)
        yield item


def report(operation: AbstractOperation, current: float, total: float | None, message: str = "") -> None:
    """Record progress in a statement that also finds out whether the attempt should stop."""
    _report(operation, current, total, message)
    _tell_result_backend(operation, current, total, message)


def _report(operation: AbstractOperation, current: float, total: float | None, message: str) -> None:
    fraction = _fraction(current, total)
    _record(operation, fraction, message or (f"{current:g}" if fraction is None else ""))


def report_state(task: TaskOptions, task_id: Any, state: Any, meta: Any) -> None:
    """Report what a running task says of how far it is by ``update_state``; any other state is none of ours."""
    attempt = current_attempt()
    own = attempt is not None and attempt.task.name == task.name and task_id in (None, task.request.id)
    if attempt is None or not own or state != PROGRESS or not isinstance(meta, Mapping):
        return
    current, total = meta.get("current"), meta.get("total")
    if _is_number(current) and (total is None or _is_number(total)):
        message = next((text for name in _MESSAGES if isinstance(text := meta.get(name), str)), "")
        _report(attempt.operation, current, total, message)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _tell_result_backend(operation: AbstractOperation, current: float, total: float | None, message: str = "") -> None:
    from django_task_safety.worker import result_backend

    attempt = current_attempt()
    if attempt is not None and attempt.operation.pk == operation.pk and not attempt.backend_fails:
        meta = {"current": current, "total": 1 if total is None and 0 <= current <= 1 else total}
        told = result_backend.note_state(attempt, PROGRESS, {**meta, **({"message": message} if message else {})})
        attempt.backend_fails = not told


def _record(operation: AbstractOperation, fraction: float | None, message: str) -> None:
    from django_task_safety.ledger import columns, statements
    from django_task_safety.values import codec

    text = codec.printable(message, columns.SHORT_TEXT)
    operation.progress, operation.progress_message = fraction, text
    connection, attempt = _connection(), current_attempt()
    side = None if attempt is None else attempt.side
    # In the caller's or the body's own transaction the row is its own. SQLite knows no other lock than a writer's.
    wait = side is None and not connection.features.has_select_for_update_skip_locked

    def write_as(spell: Callable[[str], str]) -> bool:
        said = spell(text)[: columns.SHORT_TEXT]
        return statements.report(connection, operation.pk, operation.token, fraction, said, wait=wait)

    try:
        written = columns.write_spelt(connection, [text], write_as)
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
    if operation.state == operation.State.CANCELLED:
        # By the body itself, in its own transaction, into which nobody else sees.
        raise OperationCancelled(operation.error or "Cancelled", operation)
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
