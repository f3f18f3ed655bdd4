"""An attempt becomes the owner of an operation, or finds out that it cannot."""

import dataclasses
import uuid
from collections.abc import Callable
from datetime import datetime

from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

from django_task_safety.ledger import history, notifications, statements, table
from django_task_safety.ledger.columns import write
from django_task_safety.ledger.statements import Claim
from django_task_safety.ledger.table import Seen
from django_task_safety.record import AbstractOperation, State, read_operation


def claim(
    pk: uuid.UUID,
    worker: str,
    lease: float,
    limit: float | None,
    hint: Callable[[], AbstractOperation | None] = lambda: None,
    task: str | None = None,
    *,
    durable: bool = True,
) -> Seen | None:
    """Make this attempt the owner of the operation, or return the row as it is.

    Args:
        pk: The operation's id.
        worker: Who claims, for people.
        lease: Seconds until the claim runs out unless renewed.
        limit: Seconds after which it is not renewed any more.
        task: The name of the task that would run it; another one's is not claimed.
        hint: Returns what the message knows of the row; where one statement cannot both claim and read, that saves
            the second, if nothing changed since it was published.
        durable: Whether a crash of the database's server must not forget the claim. One whose attempt writes nothing
            but in a transaction of this database, which commits later, may be forgotten together with that.

    Returns:
        None where there is no such row.
    """
    db, wanted = table.connection(), Claim(pk, uuid.uuid4(), worker, lease, limit, task)
    try:
        if db.vendor == "postgresql":
            row = statements.claim_or_read(db, wanted, durable=durable)
            seen = _from_row(db, row, wanted) if row else None
        else:
            seen = _claim_in_two(db, wanted, hint())
    except OperationalError as exc:
        if not db.get_autocommit() or not table.is_lock_timeout(exc):
            raise
        seen = table.read(pk)
        return seen and dataclasses.replace(seen, held=True)
    if seen and seen.claimed:
        notifications.transition("started", seen.operation)
    return seen


def _from_row(db: BaseDatabaseWrapper, row: statements.Row, wanted: Claim) -> Seen:
    claimed, now, *values = row
    operation = read_operation(db.alias, statements.read_columns(), values)
    if claimed:
        _take(operation, wanted, now, now)
    return Seen(operation, bool(claimed), now)


def _take(operation: AbstractOperation, made: Claim, now: datetime, seen: datetime) -> None:
    """Make the instance, as it was ``seen``, what the claim made of the row; note what was lost by then."""
    lost = history.lost(operation, seen) if operation.state == State.RUNNING else ""
    operation.attempt += 1
    operation.state, operation.token, operation.worker = State.RUNNING, made.token, made.worker
    operation.started_at = now
    for name in ("due_at", "deadline_at"):
        operation.__dict__.pop(name, None)
    if lost:
        write(table.by_id(made.pk).filter(token=made.token), operation, {"history": history.with_line(lost)})


def _claim_in_two(db: BaseDatabaseWrapper, wanted: Claim, hint: AbstractOperation | None) -> Seen | None:
    read_at: datetime | None = None
    while True:
        if hint and statements.claim_seen(db, wanted, (hint.attempt, hint.revision)):
            now = timezone.now()
            _take(hint, wanted, now, read_at or now)
            return Seen(hint, True, now)
        seen = table.read(wanted.pk)
        if seen is None:
            return None
        changed = hint is None or (hint.attempt, hint.revision) != (seen.operation.attempt, seen.operation.revision)
        if not (changed and table.claimable(seen)) or wanted.task not in (None, seen.operation.task):
            return seen
        hint, read_at = seen.operation, seen.now
