"""The SQL of the hot path, by hand: one statement each to claim and settle, on every database."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from django_task_safety.ledger.patience import CLAIM_WAIT, if_free, wait_at_most
from django_task_safety.record import operation_model
from django_task_safety.values.clock import after_sql, now_sql, retained_sql

Row = tuple[Any, ...]

#: The columns that a claim reads: what a delivery decides by, and what answers a duplicate. The rest is deferred.
_READ = {
    *("id", "task", "state", "key", "version", "result_payload", "error", "exception", "revision", "generation"),
    *("waits_for", "replaced", "attempt", "max_attempts", "available_at", "expires_at", "ended_at", "delivered"),
    *("requested_by", "parent_id", "worker", "started_at"),
}

#: May this attempt run it now? Queued and due, or running under a lease that ran out; where newer arguments came
#: meanwhile, that is for the sweeper, which queues it with them.
#: Invariant: one owner. Invariant: attempts are bounded. Invariant: expired never starts.
#: Invariant: nothing ended comes back.
_CLAIMABLE = """CASE
        WHEN available_at > {now} OR attempt >= max_attempts THEN FALSE
        WHEN {state} = 'queued' THEN attempt > 0 OR expires_at IS NULL OR expires_at > {now}
        WHEN {state} = 'running'
            THEN due_at <= {now} AND newer_subject_label IS NULL AND (deadline_at IS NULL OR due_at < deadline_at)
        ELSE FALSE
    END"""

#: Invariant: no effect without its claim. The body's durable commit comes later in the write-ahead log, which is
#: flushed in order, so that it flushes the claim first; if the server dies before, both are gone. What may be lost is
#: that an attempt began. The last allowed one is counted on the disk before it begins, and so are all that follow a
#: publication by the sweeper, so that a task that takes its server down comes to an end. RETURNING sees the row as it
#: was claimed, and is evaluated once; the setting ends with the statement's own transaction.
_WITHOUT_FLUSH = """set_config('synchronous_commit', CASE
        WHEN republished = 0 AND (max_attempts IS NULL OR attempt < max_attempts) THEN 'off'
        ELSE current_setting('synchronous_commit')
    END, TRUE)"""


@lru_cache(maxsize=1)
def columns() -> tuple[models.Field[Any, Any], ...]:
    """Return the fields of all columns, in the model's order."""
    return tuple(operation_model()._meta.concrete_fields)


@lru_cache
def read_columns() -> tuple[str, ...]:
    """Return the columns that a claim reads, in the model's order, as ``from_db`` wants them."""
    return tuple(field.attname for field in columns() if field.attname in _READ)


def table(connection: BaseDatabaseWrapper) -> str:
    """Return the quoted name of the table."""
    return str(connection.ops.quote_name(operation_model()._meta.db_table))


def _text(connection: BaseDatabaseWrapper, column: str) -> str:
    """Return a text column as it is compared: PostgreSQL has no operators for varchar, and every new connection would
    look through all that are named ``=`` for one to take."""
    return f"{column}::text" if connection.vendor == "postgresql" else column


def _claimable(connection: BaseDatabaseWrapper) -> str:
    return _CLAIMABLE.format(now=now_sql(connection), state=_text(connection, "state"))


def uuid_param(connection: BaseDatabaseWrapper, value: UUID | str) -> Any:
    """Return a UUID as the database's parameter."""
    return operation_model()._meta.pk.get_db_prep_value(value, connection)


def execute(connection: BaseDatabaseWrapper, sql: str, params: Sequence[Any]) -> int:
    """Run a statement; return how many rows it changed."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return int(cursor.rowcount)


def first_row(connection: BaseDatabaseWrapper, sql: str, params: Sequence[Any]) -> Row | None:
    """Run a query; return its first row."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        row: Row | None = cursor.fetchone()
        return row


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """An attempt that would own an operation; for what it holds see `claim`."""

    pk: UUID
    token: UUID
    worker: str
    lease: float
    limit: float | None
    task: str | None


def claim_or_read(connection: BaseDatabaseWrapper, claim: Claim, *, durable: bool) -> Row | None:
    """Claim the operation, or read it where it cannot be claimed: one statement, PostgreSQL only.

    A data-modifying WITH and the SELECT beside it see the same snapshot (PostgreSQL manual, 7.8.4), so the columns
    are those from before the claim.

    Args:
        durable: Whether the claim must be on the disk before this returns; for the others see `claim`.

    Returns:
        (whether it was claimed, database time, *`read_columns`), or None where there is no such row.
    """
    assert connection.vendor == "postgresql"
    quoted, now = table(connection), now_sql(connection)
    assignments, params = _claiming(connection, claim)
    of_task, names = _of_task(connection, claim.task)
    # Inside a caller's transaction the settings would hold for the rest of that.
    alone = connection.get_autocommit()
    returned = _WITHOUT_FLUSH if alone and not durable else "1"
    bound = f" AND {wait_at_most(CLAIM_WAIT)}" if alone else ""
    sql = (
        f"WITH claimed AS (UPDATE {quoted} SET {assignments} "
        f"WHERE id = %s{of_task} AND {_claimable(connection)}{bound} RETURNING {returned}) "
        f"SELECT EXISTS(TABLE claimed), {now}, {', '.join(read_columns())} FROM {quoted} WHERE id = %s"
    )
    return first_row(connection, sql, [*params, claim.pk, *names, claim.pk])


def claim_seen(connection: BaseDatabaseWrapper, claim: Claim, seen: tuple[int, int]) -> bool:
    """Claim the operation if its (attempt, revision) are still the ones seen: one statement, every database."""
    assignments, params = _claiming(connection, claim)
    of_task, names = _of_task(connection, claim.task)
    alone = connection.get_autocommit() and getattr(connection, "mysql_is_mariadb", False)
    bound = f"SET STATEMENT innodb_lock_wait_timeout={CLAIM_WAIT} FOR " if alone else ""
    sql = f"""
        {bound}UPDATE {table(connection)} SET {assignments}
        WHERE id = %s{of_task} AND attempt = %s AND revision = %s AND {_claimable(connection)}"""
    return bool(execute(connection, sql, [*params, uuid_param(connection, claim.pk), *names, *seen]))


def _of_task(connection: BaseDatabaseWrapper, task: str | None) -> tuple[str, list[str]]:
    """A row that was replaced is another task's: a copy of the first one's message must not claim it."""
    return ("", []) if task is None else (f" AND {_text(connection, 'task')} = %s", [task])


def _claiming(connection: BaseDatabaseWrapper, claim: Claim) -> tuple[str, list[Any]]:
    now, limit = now_sql(connection), claim.limit
    deadline = "NULL" if limit is None else after_sql(connection, limit)
    first_look = after_sql(connection, claim.lease if limit is None else min(claim.lease, limit))
    # Invariant: no claim without a lease.
    # due_at stands before started_at and attempt last: MySQL assigns from left to right.
    sql = (
        f"state = 'running', token = %s, worker = %s, due_at = {first_look}, deadline_at = {deadline}, "
        f"started_at = {now}, progress = NULL, progress_message = '', attempt = attempt + 1"
    )
    return sql, [uuid_param(connection, claim.token), claim.worker]


def settle(
    connection: BaseDatabaseWrapper,
    pk: UUID,
    token: UUID,
    revision: int,
    result: str,
    *,
    soon: float,
    wait: float | None = None,
) -> bool:
    """Record success, if the attempt still owns the operation and nobody asked for newer work meanwhile.

    Args:
        soon: Seconds until its outcome should have been delivered, where callbacks wait for it.
        wait: Seconds to wait for whoever holds the row; None as the database is set up.
    """
    now = now_sql(connection)
    # Invariant: who waits hears of it. Invariant: the newest arguments run.
    bound = f" AND {wait_at_most(wait)}" if wait is not None and connection.vendor == "postgresql" else ""
    due_sql = f"CASE WHEN delivered THEN {retained_sql(connection)} ELSE {after_sql(connection, soon)} END"
    sql = f"""
        UPDATE {table(connection)} SET state = 'succeeded', result_payload = %s, error = '', traceback = '',
            exception = '', progress = 1, token = NULL, lock_slot = NULL, ended_at = {now}, due_at = {due_sql},
            succeeded_version = version
        WHERE {_mine(connection)} AND revision = %s{bound}"""
    return bool(execute(connection, sql, [result, uuid_param(connection, pk), uuid_param(connection, token), revision]))


def mark_delivered(connection: BaseDatabaseWrapper, pk: UUID, state: str, *, wait: bool) -> bool:
    """Note that whoever waits for the outcome has heard of it, in a row that ended so; see `report`."""
    heard = f"id = %s AND ({_text(connection, 'state')} = %s) IS TRUE AND NOT delivered"
    sql = f"""
        UPDATE {table(connection)} SET delivered = TRUE, due_at = {retained_sql(connection)}
        WHERE {heard if wait else _free(connection, heard)}"""
    return bool(execute(connection, sql, [uuid_param(connection, pk), state]))


def _mine(connection: BaseDatabaseWrapper) -> str:
    # Invariant: fence. IS TRUE: the row is found by its id, and no index that begins with the state need be thought of.
    return f"id = %s AND token = %s AND ({_text(connection, 'state')} = 'running') IS TRUE"


def owned(connection: BaseDatabaseWrapper, pk: UUID, token: UUID | None) -> bool:
    """Return whether the attempt with this token still owns the operation."""
    if token is None:
        return False
    ids = [uuid_param(connection, pk), uuid_param(connection, token)]
    return first_row(connection, f"SELECT 1 FROM {table(connection)} WHERE {_mine(connection)}", ids) is not None


def report(
    connection: BaseDatabaseWrapper,
    pk: UUID,
    token: UUID | None,
    progress: float | None,
    message: str,
    *,
    wait: bool = True,
) -> bool:
    """Write an attempt's progress; return whether it could: it owns the operation still and, unless it is to ``wait``
    for whoever holds the row, nobody does."""
    if token is None:
        return False
    quoted, mine = table(connection), _mine(connection)
    if not wait:
        mine = _free(connection, mine)
    params = [progress, message, uuid_param(connection, pk), uuid_param(connection, token)]
    return bool(execute(connection, f"UPDATE {quoted} SET progress = %s, progress_message = %s WHERE {mine}", params))


def _free(connection: BaseDatabaseWrapper, condition: str) -> str:
    """Return the condition of an UPDATE for the one row that meets a condition, if nobody else holds it."""
    if not connection.features.has_select_for_update:
        return condition
    # MySQL updates no table that it also reads, except from a table made of it.
    found = f"SELECT id FROM {table(connection)} WHERE {condition} {if_free(connection)}"
    return f"id = (SELECT id FROM ({found}) AS free)"


def outcome(connection: BaseDatabaseWrapper, pk: UUID) -> Row | None:
    """Return an operation's state and error, or None where its row is gone."""
    sql = f"SELECT state, error FROM {table(connection)} WHERE id = %s"
    return first_row(connection, sql, [uuid_param(connection, pk)])
