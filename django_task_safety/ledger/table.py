"""Read the table of operations; `django_task_safety.ledger` alone changes their state."""

import dataclasses
import sqlite3
import uuid
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, TypeVar

from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_task_safety.conf import conf
from django_task_safety.ledger import statements
from django_task_safety.record import AbstractOperation, OperationRows, State, operation_model
from django_task_safety.values.clock import Now, as_read, now_sql

T = TypeVar("T")

#: How often a statement that the database chose as the victim of a deadlock is tried.
DEADLOCK_TRIES = 20


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """An operation as it was read, and the database's time when it was."""

    operation: AbstractOperation
    claimed: bool
    now: datetime
    #: Whether it was not claimed because somebody holds the row, in a transaction that goes on.
    held: bool = False


def connection() -> BaseDatabaseWrapper:
    """Return this thread's connection to the operations' database."""
    return connections[conf().DATABASE]


def now() -> datetime:
    """Return the database's time."""
    db = connection()
    with db.cursor() as cursor:
        cursor.execute(f"SELECT {now_sql(db)}", [])
        (found,) = cursor.fetchone()
    return as_read(db, found)


def retry_on_deadlock(call: Callable[[], T]) -> T:
    """Make a call that changes rows; in autocommit once more where the database breaks a deadlock by refusing it.

    In a transaction, of which it would be only a part, the refusal is the caller's.
    """
    db = connection()
    for tries_left in reversed(range(1 if db.in_atomic_block else DEADLOCK_TRIES)):
        try:
            return call()
        except OperationalError as exc:
            if not tries_left or not is_deadlock(exc):
                raise
    raise AssertionError("unreachable")


def is_deadlock(exc: OperationalError) -> bool:
    """Return whether PostgreSQL (40P01), MariaDB or MySQL (1213) found a deadlock."""
    return code(exc) in ("40P01", 1213)


def code(exc: BaseException) -> Any:
    """Return the database's own code of an error: PostgreSQL's as text, MariaDB's and MySQL's as a number."""
    cause = exc.__cause__
    number = (getattr(cause, "args", None) or (None,))[0]
    return number if isinstance(number, int) else getattr(cause, "sqlstate", getattr(cause, "pgcode", None))


def is_lock_timeout(exc: BaseException) -> bool:
    """Return whether PostgreSQL (55P03), MariaDB or MySQL (1205), or SQLite (BUSY, of whichever kind) gave up waiting
    for somebody who holds the row."""
    return code(exc) in ("55P03", 1205) or getattr(exc.__cause__, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def rows() -> OperationRows:
    """Return all rows, waiters included."""
    found: OperationRows = operation_model().all_rows.get_queryset()
    return found


def by_id(*pks: uuid.UUID) -> OperationRows:
    """Return the rows with these ids."""
    return rows().filter(pk__in=pks) if len(pks) != 1 else rows().filter(pk=pks[0])


def about(label: str, pks: Collection[str], database: str) -> OperationRows:
    """Return the rows whose objects are of that root model, and have these primary keys in that database."""
    return rows().filter(subject_label=label, subject_id__in=pks, subject_database=database)


def locked(found: OperationRows, *, wait: bool = False) -> list[AbstractOperation]:
    """Lock rows in the current transaction and return them; unless it is to ``wait``, those that nobody else has."""
    skip = not wait and connection().features.has_select_for_update_skip_locked
    return list(found.order_by("pk").select_for_update(skip_locked=skip))


def run_by(worker: str, *pks: uuid.UUID) -> OperationRows:
    """Return those of the rows that run in that worker."""
    return by_id(*pks).filter(worker=worker, state=State.RUNNING)


def find(*, pk: uuid.UUID | None = None, digest: str | None = None, lock: bool = False) -> AbstractOperation | None:
    """Return the row with this id, or else with this key."""
    db = connection()
    by = {"id": pk and statements.uuid_param(db, pk), "key_digest": digest}
    params = {column: value for column, value in by.items() if value}
    # By hand: to build a query of every column takes longer than to run it, and each duplicate comes by.
    sql = f"SELECT * FROM {statements.table(db)} WHERE {' OR '.join(f'{column} = %s' for column in params)}"
    # A locking read sees the newest committed row where a plain one would look at the transaction's snapshot.
    if lock and db.features.has_select_for_update:
        sql += f" {db.ops.for_update_sql()}"
    rows_found: list[AbstractOperation] = list(rows().raw(sql, list(params.values())))
    # The id says more than the key.
    return next((row for row in rows_found if row.pk == pk), rows_found[0] if rows_found else None)


def read(pk: uuid.UUID) -> Seen | None:
    """Return the row and the database's time."""
    operation = rows().filter(pk=pk).annotate(_now=Now()).first()
    return Seen(operation, False, operation.__dict__["_now"]) if operation else None


def claimable(seen: Seen) -> bool:
    """Return whether a claim of the row as it was read would succeed; the same rule as the statement's."""
    operation, now = seen.operation, seen.now
    if operation.max_attempts is not None and operation.attempt >= operation.max_attempts:
        return False
    if operation.available_at > now:
        return False
    if operation.state == State.QUEUED:
        return not operation.has_expired(now)
    due, overran = operation.due_at, operation.overran or newer_waits(operation)
    return operation.state == State.RUNNING and due is not None and due <= now and not overran


def newer_waits(operation: AbstractOperation) -> bool:
    """Return whether a running operation, as it was read, was given newer arguments since its attempt began."""
    return operation.newer_subject_label is not None
