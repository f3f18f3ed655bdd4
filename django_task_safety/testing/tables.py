"""All tables of the test's databases at one moment, and what differs between two of these."""

from collections.abc import Collection, Iterator
from pathlib import PurePath
from typing import Any

from django.apps import apps
from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.recorder import MigrationRecorder
from django.test.testcases import DatabaseOperationForbidden  # type: ignore[attr-defined]  # a gap of the stubs

from django_task_safety.errors import InvalidArguments
from django_task_safety.models import Operation

Row = dict[str, Any]
#: The rows by their primary keys, by table.
Snapshot = dict[str, dict[tuple[Any, ...], Row]]
#: Columns, as ``(table, column)``, that are not compared.
Columns = Collection[tuple[str, str | None]]


def snapshot() -> Snapshot:
    """Read the tables of all databases that the test may use; neither ours, nor sessions, nor migrations."""
    found: Snapshot = {}
    left_out = _left_out()
    for db in usable():
        prefix = "" if db.alias == "default" else f"{db.alias}."
        with db.cursor() as cursor:
            for table in sorted(set(db.introspection.table_names(cursor)) - left_out):
                found[prefix + table] = _rows(db, cursor, table)
    return found


def usable() -> Iterator[BaseDatabaseWrapper]:
    """Go through the connections that the test may use."""
    for db in connections.all():
        try:
            db.cursor().close()
        except DatabaseOperationForbidden:
            continue
        yield db


def refuse_real_databases() -> None:
    """Keep a piece of work from being tried on data that somebody needs.

    Raises:
        InvalidArguments: For a database that Django did not make for tests.
    """
    for db in usable():
        name = str(db.settings_dict["NAME"])
        test_name = str(db.settings_dict.get("TEST", {}).get("NAME") or "test_")
        in_memory = ":memory:" in name or "mode=memory" in name
        if not (in_memory or name.startswith(test_name) or PurePath(name).name.startswith("test_")):
            raise InvalidArguments(
                f"{name!r}, the database {db.alias!r}, is not a test database. Call this in a test that Django's test "
                "runner or pytest-django has made a database for."
            )


def saved_at() -> Columns:
    """Return the columns that say when a row was saved, which every save changes."""
    return {
        (model._meta.db_table, field.column)
        for model in apps.get_models(include_auto_created=True)
        for field in model._meta.local_fields
        if isinstance(field, models.DateField) and field.auto_now
    }


def differences(expected: Snapshot, actual: Snapshot, ignored: Columns = ()) -> Iterator[str]:
    """Say row by row how a snapshot differs from the expected one."""
    for table in sorted(expected.keys() | actual.keys()):
        before, after = expected.get(table, {}), actual.get(table, {})
        for key in [*before, *(key for key in after if key not in before)]:
            if key not in after:
                yield f"- {table}: {text(before[key])}"
            elif key not in before:
                yield f"+ {table}: {text(after[key])}"
            elif columns := [c for c, v in before[key].items() if v != after[key].get(c) and (table, c) not in ignored]:
                changes = ", ".join(f"{c} {before[key][c]!r} -> {after[key].get(c)!r}" for c in columns)
                yield f"~ {table} {'/'.join(map(str, key))}: {changes}"


def _left_out() -> set[str]:
    config: Any = Operation._meta.app_config
    ours = {model._meta.db_table for model in config.get_models(include_auto_created=True)}
    return ours | {MigrationRecorder.Migration._meta.db_table, "django_session"}


def _rows(db: BaseDatabaseWrapper, cursor: Any, table: str) -> dict[tuple[Any, ...], Row]:
    cursor.execute(f"SELECT * FROM {db.ops.quote_name(table)}")
    columns = [column[0] for column in cursor.description]
    found = cursor.fetchall()
    # Asked for last, since on MariaDB it takes longer than all the rest.
    keys = (db.introspection.get_primary_key_columns(cursor, table) or ()) if found else ()
    rows: dict[tuple[Any, ...], Row] = {}
    for number, values in enumerate(found):
        row = dict(zip(columns, values, strict=True))
        rows[tuple(row[key] for key in keys) or (number,)] = row
    return rows


def text(row: Row) -> str:
    """Return a row in one line."""
    return ", ".join(f"{column}={value!r}" for column, value in row.items())
