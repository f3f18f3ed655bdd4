"""The SQL that enqueues, by hand: one statement, which inserts those rows that are new."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from uuid import uuid4

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from django_task_safety.ledger import innodb
from django_task_safety.ledger.patience import wait_at_most, wait_in_slot
from django_task_safety.ledger.statements import columns, table
from django_task_safety.ledger.subject_lock import SubjectRow
from django_task_safety.record import AbstractOperation
from django_task_safety.values.clock import After, Now, after_sql, now_sql

#: Most columns of a new row hold one of these.
_LITERALS: dict[tuple[type, Any], str] = {
    **{(type(None), None): "NULL", (str, ""): "''", (int, 0): "0"},
    **{(bool, True): "TRUE", (bool, False): "FALSE"},
}


def insert(
    connection: BaseDatabaseWrapper, operations: Sequence[AbstractOperation], subject_row: SubjectRow | None = None
) -> int | None:
    """Insert those rows whose id, key and lock are new.

    A rival's uncommitted row with the same id, key or lock makes the database wait for its outcome; an attempt, which
    waits in its worker's slot, gives up after a while, with the database's error.

    Args:
        operations: The rows.
        subject_row: Only for one row: the object whose row must be there, and stay until the end of the transaction.

    Returns:
        How many went in; None where the database does not tell.
    """
    params: list[Any] = []
    if connection.vendor == "mysql" and operations[0].token is None:
        # By this, and nothing else, a single insert is told from a row that was there.
        operations[0].token = uuid4()
    fields = columns()
    if len(operations) == 1:
        # What is not named is NULL, and costs nothing.
        values = operations[0].__dict__
        fields = tuple(field for field in fields if values[field.attname] is not None)
    groups = [_values(connection, operation, fields, params) for operation in operations]
    names = _names(connection.vendor, tuple(field.column for field in fields))
    sql = f"INSERT INTO {table(connection)} ({names}) "
    condition = _conditions(connection, operations[0]) if len(operations) == 1 else ""
    if subject_row is None:
        sql += f"SELECT {groups[0]} WHERE TRUE{condition}" if condition else f"VALUES ({'), ('.join(groups)})"
    else:
        held, more = subject_row.sql(connection, condition)
        sql, params = f"{sql}SELECT {groups[0]} {held}", [*params, *more]
    if connection.vendor == "mysql":
        return innodb.insert(connection, sql, params, operations)
    with connection.cursor() as cursor:
        # Invariant: one row per key.
        cursor.execute(f"{sql} ON CONFLICT DO NOTHING", params)
        return int(cursor.rowcount)


def most_rows(connection: BaseDatabaseWrapper) -> int:
    """Return how many rows one statement takes at most, for the number of parameters that the database takes."""
    limit = connection.features.max_query_params
    return 10**6 if limit is None else max(1, limit // len(columns()))


def _conditions(connection: BaseDatabaseWrapper, operation: AbstractOperation) -> str:
    # The bound first, for the other condition waits as well.
    wait = wait_in_slot(connection, operation) if connection.vendor == "postgresql" else None
    return ("" if wait is None else f" AND {wait_at_most(wait)}") + _one_by_one(connection, operation)


def _one_by_one(connection: BaseDatabaseWrapper, operation: AbstractOperation) -> str:
    """Return the condition that lets one transaction at a time reach a lock's place in the index, on PostgreSQL.

    There whoever comes second would wait for the end of the first one's transaction. A task waits (it must name who
    holds the lock); a block of code, which may have only so much time, is sent away and can come again. Where the
    holder is committed, both are sent away before they wait for anything, the object's row included.
    """
    if connection.vendor != "postgresql" or operation.lock_slot is None:
        return ""
    number = int(operation.lock_slot[:16], 16) - 2**63
    # A digest: hexadecimal digits.
    free = f" AND NOT EXISTS (SELECT 1 FROM {table(connection)} WHERE lock_slot = '{operation.lock_slot}')"
    if operation.waits is None:
        return f"{free} AND pg_advisory_xact_lock({number}) IS NOT NULL"
    return f"{free} AND pg_try_advisory_xact_lock({number})"


def _values(
    connection: BaseDatabaseWrapper,
    operation: AbstractOperation,
    fields: "Sequence[models.Field[Any, Any]]",
    params: list[Any],
) -> str:
    """Return the SQL of one row's values and append its parameters: as few as can be, for each costs time."""
    parts = []
    values = operation.__dict__
    for field in fields:
        value = values[field.attname]
        literal = _LITERALS.get((value.__class__, value)) if not value or value is True else None
        if literal is not None:
            parts.append(literal)
        elif isinstance(value, After):
            parts.append(after_sql(connection, value.seconds))
        elif isinstance(value, Now):
            parts.append(now_sql(connection))
        else:
            parts.append("%s")
            params.append(value if value.__class__ is str else field.get_db_prep_save(value, connection))
    return ", ".join(parts)


@lru_cache
def _names(vendor: str, names: tuple[str, ...]) -> str:
    quote = "`{}`".format if vendor == "mysql" else '"{}"'.format
    return ", ".join(map(quote, names))
