"""The triggers that look at an object's operations when its row is deleted, whoever deletes it: the same rules as
`django_task_safety.objects.delete_guard`, in SQL.

When a trigger runs, the delete has locked the row, for which an enqueue holds a lock of its own (`subject_lock`): so
whoever enqueued before has committed, and whoever comes later finds no object. What remains is to read what is
committed now, not what was when the statement or the transaction began: a query in a PostgreSQL function does that at
READ COMMITTED, a locking read of InnoDB always, and SQLite has one writer.

For a multi-table child, an enqueue holds the row of the root model. There the function locks that row first, and the
locking read, which waits for an operation that is not committed yet, needs nothing.
"""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.db import DatabaseError, models
from django.db.backends.base.base import BaseDatabaseWrapper

from django_task_safety import ledger
from django_task_safety.context import Attempt
from django_task_safety.errors import GuardImpossible
from django_task_safety.ledger.object_gone import cancelled_sql
from django_task_safety.ledger.statements import table as operations_table
from django_task_safety.ledger.statements import uuid_param
from django_task_safety.objects.conflicts import DELETED, LOCK
from django_task_safety.record import operation_model

#: What is pending on an object: ``{o}`` is the alias with its dot, ``{same}`` compares the primary key.
_PENDING = (
    "{o}subject_label = '{label}' AND {same} AND {o}subject_database = '{database}' "
    "AND {o}state IN ('queued', 'running')"
)
_PROTECTED = (
    _PENDING + " AND {o}on_delete = 'protect'"
    f" AND NOT ({{o}}task = '{LOCK}' AND {{o}}state = 'running' AND {{o}}due_at <= {{now}})"
)
_ENDING = _PENDING + " AND ({o}on_delete = 'cancel' OR ({o}on_delete = 'keep' AND {o}state = 'queued'))"
#: All but the operation whose running attempt said that it deletes its own object.
_NOT_MINE = " AND NOT COALESCE({o}token = {mine}, FALSE)"
_CANCELLED = cancelled_sql("{o}", "{now}", DELETED)
_REFUSAL = "which cannot be deleted. Wait for it to end, or cancel it."
#: The transaction's setting, or the session's variable, that holds the token of such an attempt.
_MINE = {"postgresql": "task_safety.token", "mysql": "@task_safety_token"}


@dataclasses.dataclass(frozen=True, slots=True)
class Trigger:
    """What a row's going means for the operations of one model."""

    name: str
    #: Whose rows are deleted.
    table: str
    #: The root model's.
    label: str
    #: What the subject's primary key is made of, and where it stands in the guarded table.
    pk: models.Field[Any, Any]
    column: str
    #: The root model's table and column, if that is another one: whoever enqueues holds the row there.
    root: tuple[str, str] | None = None
    #: The guarded table, where it is another one whose rows go with the deleted row, but fire no trigger.
    guarded: str = ""
    #: From the guarded table up to the deleted row: a referring column, and the table and column it refers to.
    path: tuple[tuple[str, str, str], ...] = ()


def create(connection: BaseDatabaseWrapper, trigger: Trigger) -> list[str]:
    """Return the statements that make the trigger, also where there is one of that name. Raises `GuardImpossible` if
    the database cannot tell the local time that Django stores without ``USE_TZ``."""
    make = {"postgresql": _postgresql, "mysql": _mysql, "sqlite": _sqlite}[connection.vendor]
    return [*drop(connection, trigger), *make(connection, trigger)]


def drop(connection: BaseDatabaseWrapper, trigger: Trigger) -> list[str]:
    """Return the statements that remove the trigger, if it is there."""
    name, table = connection.ops.quote_name(trigger.name), connection.ops.quote_name(trigger.table)
    if connection.vendor == "postgresql":
        return [f"DROP TRIGGER IF EXISTS {name} ON {table}", f"DROP FUNCTION IF EXISTS {name}()"]
    return [f"DROP TRIGGER IF EXISTS {name}"]


def exempt(connection: BaseDatabaseWrapper, attempt: Attempt) -> None:
    """Tell the triggers that the attempt deletes its own object, in the current transaction."""
    if attempt.token is None:
        return
    token = uuid_param(connection, attempt.token)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT set_config(%s, %s, true)", [_MINE["postgresql"], str(token)])
        elif connection.vendor == "mysql":
            # It would outlast the transaction, see `end_exemption`.
            cursor.execute(f"SET {_MINE['mysql']} = %s", [str(token)])
            attempt.exempt = connection
        else:
            # There are no variables, but here the delete keeps everybody else from writing anyway.
            ledger.allow_delete(attempt.operation.pk, attempt.token)


def end_exemption(attempt: Attempt) -> None:
    """Take back, when the attempt's transaction is over, what `exempt` told where variables belong to the session."""
    if attempt.exempt is not None:
        with suppress(DatabaseError), attempt.exempt.cursor() as cursor:
            cursor.execute(f"SET {_MINE['mysql']} = NULL")


def _postgresql(connection: BaseDatabaseWrapper, trigger: Trigger) -> list[str]:
    quote, operations = connection.ops.quote_name, operations_table(connection)
    name, pk = quote(trigger.name), f"OLD.{quote(trigger.column)}::text"
    now = "STATEMENT_TIMESTAMP()"
    words = {
        **{"o": "", "label": trigger.label, "database": connection.alias, "same": "subject_id = this_pk"},
        **{"now": now, "mine": "this_token"},
    }
    hold = ""
    if trigger.root is not None:
        table, column = map(quote, trigger.root)
        hold = f"PERFORM 1 FROM {table} WHERE {column} = OLD.{quote(trigger.column)} FOR UPDATE;"
    function = f"""CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $guard$
DECLARE
    this_pk text := {_without_dashes(trigger.pk, pk)};
    this_token uuid := NULLIF(current_setting('{_MINE["postgresql"]}', true), '')::uuid;
    protecting uuid;
BEGIN
    {hold}
    SELECT id INTO protecting FROM {operations} WHERE {(_PROTECTED + _NOT_MINE).format(**words)} LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'restrict_violation', TABLE = TG_TABLE_NAME, MESSAGE =
            format('operation %s protects {trigger.label} %s, {_REFUSAL}', protecting, this_pk);
    END IF;
    UPDATE {operations} SET {_CANCELLED.format(**words)} WHERE {(_ENDING + _NOT_MINE).format(**words)};
    RETURN OLD;
END
$guard$"""
    return [
        function,
        f"CREATE TRIGGER {name} BEFORE DELETE ON {quote(trigger.table)} FOR EACH ROW EXECUTE FUNCTION {name}()",
    ]


def _sqlite(connection: BaseDatabaseWrapper, trigger: Trigger) -> list[str]:
    quote, operations = connection.ops.quote_name, operations_table(connection)
    # The process has the time zone of the settings.
    now = "STRFTIME('%Y-%m-%d %H:%M:%f000', 'NOW'" + (")" if settings.USE_TZ else ", 'localtime')")
    words = {
        **{"o": "", "label": trigger.label, "database": connection.alias, "now": now},
        "same": f"subject_id = {_without_dashes(trigger.pk, f'CAST(OLD.{quote(trigger.column)} AS TEXT)')}",
    }
    # Until 3.47 the message is a literal, and an older SQLite could not open a database with anything else.
    return [
        f"""CREATE TRIGGER {quote(trigger.name)} BEFORE DELETE ON {quote(trigger.table)} FOR EACH ROW BEGIN
    SELECT RAISE(ABORT, 'a pending operation protects this {trigger.label}, {_REFUSAL}')
    WHERE EXISTS (SELECT 1 FROM {operations} WHERE {_PROTECTED.format(**words)});
    UPDATE {operations} SET {_CANCELLED.format(**words)} WHERE {_ENDING.format(**words)};
END"""
    ]


def _mysql(connection: BaseDatabaseWrapper, trigger: Trigger) -> list[str]:
    quote, operations = connection.ops.quote_name, operations_table(connection)
    now, as_text = _mysql_now(connection), _mysql_text(connection)
    row = "g0" if trigger.path else "OLD"
    pk = as_text.format(_without_dashes(trigger.pk, f"CAST({row}.{quote(trigger.column)} AS CHAR)"))
    words = {
        **{"o": "o.", "label": trigger.label, "database": connection.alias, "same": f"o.subject_id = {pk}", "now": now},
        "mine": as_text.format(_MINE["mysql"]),
    }
    going, among = _mysql_going(connection, trigger)
    # Of those that go without a trigger of their own, the rows are locked here. MIN and COUNT, for a SELECT INTO that
    # finds nothing warns; the number of an error of a foreign key, for its class.
    hold = f"SELECT COUNT(*) INTO held FROM {going} WHERE {among} FOR UPDATE;" if going else ""
    source = f"{going} JOIN {operations} o" if going else f"{operations} o"
    among = f"{among} AND " if among else ""
    return [
        f"""CREATE TRIGGER {quote(trigger.name)} BEFORE DELETE ON {quote(trigger.table)} FOR EACH ROW
BEGIN
    DECLARE message VARCHAR(128) CHARACTER SET utf8mb4;
    DECLARE held INT;
    -- Who turns these off, as Django's flush does, wants no row to be looked at.
    IF @@foreign_key_checks THEN
        {hold}
        SELECT LEFT(MIN(CONCAT('operation ', o.id, ' protects {trigger.label} ', {pk}, ', {_REFUSAL}')), 128)
            INTO message FROM {source} WHERE {among}{(_PROTECTED + _NOT_MINE).format(**words)} FOR UPDATE;
        IF message IS NOT NULL THEN
            SIGNAL SQLSTATE '23000' SET MYSQL_ERRNO = 1451, MESSAGE_TEXT = message;
        END IF;
        UPDATE {source} SET {_CANCELLED.format(**words)} WHERE {among}{(_ENDING + _NOT_MINE).format(**words)};
    END IF;
END"""
    ]


def _mysql_going(connection: BaseDatabaseWrapper, trigger: Trigger) -> tuple[str, str]:
    """Return the tables from the guarded one up, joined, and what their rows have in common with the deleted row."""
    quote, source, among = connection.ops.quote_name, "", ""
    referring = trigger.guarded
    for number, (column, table, target) in enumerate(trigger.path):
        on = f" ON {among}" if among else ""
        source = f"{source} JOIN {quote(referring)} g{number}{on}" if source else f"{quote(referring)} g0"
        last = number == len(trigger.path) - 1
        among = f"g{number}.{quote(column)} = {'OLD' if last else f'g{number + 1}'}.{quote(target)}"
        referring = table
    return source, among


def _without_dashes(pk: models.Field[Any, Any], text: str) -> str:
    """Return the SQL for a primary key as `identity.pk_text` writes it."""
    return f"REPLACE({text}, '-', '')" if isinstance(pk, models.UUIDField) else text


def _mysql_text(connection: BaseDatabaseWrapper) -> str:
    """Return the pattern that makes texts comparable with the operations' columns, whatever their own collation is."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT character_set_name, collation_name FROM information_schema.columns WHERE table_schema = DATABASE() "
            "AND table_name = %s AND column_name = 'subject_id'",
            [operation_model()._meta.db_table],
        )
        row = cursor.fetchone()
    return f"CONVERT({{}} USING {row[0]}) COLLATE {row[1]}" if row else "{}"


def _mysql_now(connection: BaseDatabaseWrapper) -> str:
    if settings.USE_TZ or settings.TIME_ZONE == "UTC":
        return "UTC_TIMESTAMP(6)"
    now = f"CONVERT_TZ(UTC_TIMESTAMP(6), '+00:00', '{settings.TIME_ZONE}')"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {now}")
        (found,) = cursor.fetchone()
    if found is None:
        raise GuardImpossible(
            f"The database does not know the time zone {settings.TIME_ZONE!r}, in which Django stores times without "
            "USE_TZ: load its time zone tables, or set USE_TZ."
        )
    return now
