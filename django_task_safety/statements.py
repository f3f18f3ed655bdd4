"""The SQL of the hot path, by hand: one statement each to enqueue, claim and settle, on every database."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID, uuid4

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from django_task_safety import innodb
from django_task_safety.clock import After, Now, after_sql, now_sql
from django_task_safety.models import Operation

Row = tuple[Any, ...]

#: The columns that a claim reads: what a delivery decides by, and what answers a duplicate. The rest is deferred.
_READ = {
    *("id", "task", "state", "key", "version", "result_payload", "error", "exception", "revision", "generation"),
    *("follows", "attempt", "max_attempts", "available_at", "expires_at", "deadline_at", "due_at", "delivered"),
}
#: Most columns of a new row hold one of these.
_LITERALS: dict[tuple[type, Any], str] = {
    **{(type(None), None): "NULL", (str, ""): "''", (int, 0): "0"},
    **{(bool, True): "TRUE", (bool, False): "FALSE"},
}

#: May this attempt run it now? Queued and due, or running under a lease that ran out.
_CLAIMABLE = """(
        (state = 'queued' AND available_at <= {now} AND (attempt > 0 OR expires_at IS NULL OR expires_at > {now}))
        OR (state = 'running' AND due_at <= {now} AND (deadline_at IS NULL OR due_at < deadline_at))
    ) AND (max_attempts IS NULL OR attempt < max_attempts)"""


@lru_cache(maxsize=1)
def _columns() -> tuple[models.Field[Any, Any], ...]:
    return tuple(Operation._meta.concrete_fields)


@lru_cache
def read_columns() -> tuple[str, ...]:
    """Return the columns that a claim reads, in the model's order, as ``from_db`` wants them."""
    return tuple(field.attname for field in _columns() if field.attname in _READ)


def table(connection: BaseDatabaseWrapper) -> str:
    """Return the quoted name of the table."""
    return str(connection.ops.quote_name(Operation._meta.db_table))


@lru_cache
def _names(vendor: str) -> str:
    quote = "`{}`".format if vendor == "mysql" else '"{}"'.format
    return ", ".join(quote(field.column) for field in _columns())


def uuid_param(connection: BaseDatabaseWrapper, value: UUID | str) -> Any:
    """Return a UUID as the database's parameter."""
    return Operation._meta.pk.get_db_prep_value(value, connection)


def insert(connection: BaseDatabaseWrapper, operations: Sequence[Operation]) -> int | None:
    """Insert those rows whose id and key are new.

    A rival's uncommitted row with the same id or key makes the database wait for its outcome.

    Returns:
        How many went in; None where the database does not tell.
    """
    params: list[Any] = []
    if connection.vendor == "mysql" and operations[0].token is None:
        # By this, and nothing else, a single insert is told from a row that was there.
        operations[0].token = uuid4()
    groups = [_values(connection, operation, params) for operation in operations]
    sql = f"INSERT INTO {table(connection)} ({_names(connection.vendor)}) VALUES {', '.join(groups)}"
    if connection.vendor == "mysql":
        return innodb.insert(connection, sql, params, operations)
    with connection.cursor() as cursor:
        cursor.execute(f"{sql} ON CONFLICT DO NOTHING", params)
        return int(cursor.rowcount)


def _values(connection: BaseDatabaseWrapper, operation: Operation, params: list[Any]) -> str:
    """Return the SQL of one row's values and append its parameters: as few as can be, for each costs time."""
    parts = []
    values = operation.__dict__
    for field in _columns():
        value = values[field.attname]
        literal = _LITERALS.get((value.__class__, value)) if not value or value is True else None
        if literal is not None:
            parts.append(literal)
        elif isinstance(value, After):
            parts.append(after_sql(connection))
            params.append(value.seconds)
        elif isinstance(value, Now):
            parts.append(now_sql(connection))
        else:
            parts.append("%s")
            params.append(value if value.__class__ is str else field.get_db_prep_save(value, connection))
    return f"({', '.join(parts)})"


def claim_or_read(
    connection: BaseDatabaseWrapper,
    pk: UUID,
    token: UUID,
    owner: str,
    lease: float,
    limit: float | None,
    task: str | None = None,
) -> Row | None:
    """Claim the operation, or read it where it cannot be claimed: one statement, PostgreSQL only.

    A data-modifying WITH and the SELECT beside it see the same snapshot (PostgreSQL manual, 7.8.4), so the columns
    are those from before the claim.

    Returns:
        (1 if it was claimed, database time, *`read_columns`), or None where there is no such row.
    """
    assert connection.vendor == "postgresql"
    quoted, now = table(connection), now_sql(connection)
    assignments, params = _claiming(connection, token, owner, lease, limit)
    of_task, names = _of_task(task)
    sql = (
        f"WITH claimed AS (UPDATE {quoted} SET {assignments} WHERE id = %s{of_task} AND {_CLAIMABLE.format(now=now)} "
        f"RETURNING 1 AS one) SELECT claimed.one, {now}, {', '.join(read_columns())} "
        f"FROM {quoted} LEFT JOIN claimed ON true WHERE id = %s"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [*params, pk, *names, pk])
        row: Row | None = cursor.fetchone()
        return row


def claim_seen(
    connection: BaseDatabaseWrapper,
    pk: UUID,
    seen: tuple[int, int],
    token: UUID,
    owner: str,
    lease: float,
    limit: float | None,
    task: str | None = None,
) -> bool:
    """Claim the operation if its (attempt, revision) are still the ones seen: one statement, every database."""
    assignments, params = _claiming(connection, token, owner, lease, limit)
    of_task, names = _of_task(task)
    sql = f"""
        UPDATE {table(connection)} SET {assignments}
        WHERE id = %s{of_task} AND attempt = %s AND revision = %s AND {_CLAIMABLE.format(now=now_sql(connection))}"""
    with connection.cursor() as cursor:
        cursor.execute(sql, [*params, uuid_param(connection, pk), *names, *seen])
        return bool(cursor.rowcount)


def _of_task(task: str | None) -> tuple[str, list[str]]:
    """A row that was replaced is another task's: a copy of the first one's message must not claim it."""
    return ("", []) if task is None else (" AND task = %s", [task])


def _claiming(
    connection: BaseDatabaseWrapper, token: UUID, owner: str, lease: float, limit: float | None
) -> tuple[str, list[Any]]:
    now, after = now_sql(connection), after_sql(connection)
    deadline, params = ("NULL", []) if limit is None else (after, [limit])
    # due_at stands before started_at and attempt last: MySQL assigns from left to right.
    sql = (
        f"state = 'running', token = %s, owner = %s, due_at = {after}, deadline_at = {deadline}, "
        f"started_at = {now}, progress = NULL, progress_message = '', attempt = attempt + 1"
    )
    first_look = lease if limit is None else min(lease, limit)
    return sql, [uuid_param(connection, token), owner, first_look, *params]


def settle(
    connection: BaseDatabaseWrapper, pk: UUID, token: UUID, revision: int, result: str, kept: float | None, soon: float
) -> bool:
    """Record success, if the attempt still owns the operation and nobody asked for newer work meanwhile.

    Args:
        kept: Seconds until it is pruned; None for never.
        soon: Seconds until its outcome should have been delivered, where callbacks wait for it.
    """
    now = now_sql(connection)
    kept_sql, params = ("NULL", []) if kept is None else (after_sql(connection), [kept])
    due_sql, params = f"CASE WHEN delivered THEN {kept_sql} ELSE {after_sql(connection)} END", [*params, soon]
    sql = f"""
        UPDATE {table(connection)} SET state = 'succeeded', result_payload = %s, error = '', traceback = '',
            exception = '', progress = 1, token = NULL, ended_at = {now}, due_at = {due_sql},
            succeeded_version = version
        WHERE id = %s AND token = %s AND state = 'running' AND revision = %s"""
    ids = [uuid_param(connection, pk), uuid_param(connection, token)]
    with connection.cursor() as cursor:
        cursor.execute(sql, [result, *params, *ids, revision])
        return bool(cursor.rowcount)


_MINE = "WHERE id = %s AND token = %s AND state = 'running'"


def owned(connection: BaseDatabaseWrapper, pk: UUID, token: UUID | None) -> bool:
    """Return whether the attempt with this token still owns the operation."""
    if token is None:
        return False
    with connection.cursor() as cursor:
        ids = [uuid_param(connection, pk), uuid_param(connection, token)]
        cursor.execute(f"SELECT 1 FROM {table(connection)} {_MINE}", ids)
        return cursor.fetchone() is not None


def report(connection: BaseDatabaseWrapper, pk: UUID, token: UUID | None, progress: float | None, message: str) -> bool:
    """Write an attempt's progress; return whether it still owns the operation."""
    if token is None:
        return False
    with connection.cursor() as cursor:
        ids = [uuid_param(connection, pk), uuid_param(connection, token)]
        assignments = "SET progress = %s, progress_message = %s"
        cursor.execute(f"UPDATE {table(connection)} {assignments} {_MINE}", [progress, message, *ids])
        return bool(cursor.rowcount)


def outcome(connection: BaseDatabaseWrapper, pk: UUID) -> tuple[str, str] | None:
    """Return an operation's state and error, or None where its row is gone."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT state, error FROM {table(connection)} WHERE id = %s", [uuid_param(connection, pk)])
        row: tuple[str, str] | None = cursor.fetchone()
        return row
