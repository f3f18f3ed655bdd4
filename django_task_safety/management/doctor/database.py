"""The operations' database: whether it answers, is migrated, and what its clock says."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from django.db import Error as DatabaseError
from django.db.migrations.executor import MigrationExecutor

from django_task_safety.conf import conf
from django_task_safety.ledger import table
from django_task_safety.ledger.own_connections import outside_pool
from django_task_safety.management.doctor.findings import Finding, NoAnswer, bad, good, said, within
from django_task_safety.values.clock import as_aware

#: By how much the clocks of two hosts may differ before anybody notices.
TOLERANCE = timedelta(seconds=5)


def probe(timeout: float) -> Iterator[Finding]:
    """Look at the database; a finding that is not good comes last, and there is no use in asking it anything else."""
    alias = conf().DATABASE
    try:
        if table.connection().vendor != "sqlite":
            within(timeout, lambda: _connect(alias))
        began = time.monotonic()
        table.now()
        took = time.monotonic() - began
        missing = _unapplied()
    except (DatabaseError, NoAnswer, OSError) as exc:
        hint = "Start it, or mend the settings DATABASES and TASK_SAFETY['DATABASE']."
        yield bad("database", f"{alias!r} does not answer: {said(exc)}", hint)
        return
    if missing:
        hint = f"Run manage.py migrate --database {alias}."
        yield bad("database", f"{alias!r} is not migrated: {', '.join(missing)}", hint)
        return
    yield good("database", f"{alias!r} ({table.connection().display_name}) answers in {took * 1000:.1f} ms")


def _connect(alias: str) -> None:
    connection = outside_pool(alias)
    try:
        connection.ensure_connection()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        connection.close()


def _unapplied() -> list[str]:
    executor = MigrationExecutor(table.connection())
    targets = [node for node in executor.loader.graph.leaf_nodes() if node[0] == "django_task_safety"]
    return [migration.name for migration, _ in executor.migration_plan(targets)]


def clocks() -> Finding:
    """Compare this host's clock with the database's."""
    before, there, after = datetime.now(UTC), as_aware(table.now()), datetime.now(UTC)
    gap = before + (after - before) / 2 - there
    text = f"this host is {ahead(gap)} the database"
    if abs(gap) <= TOLERANCE:
        return good("clocks", text)
    return bad("clocks", text, HINT)


HINT = (
    "Let NTP set the clocks. Leases and retries follow the database's; countdowns, expires and what people read follow "
    "the hosts'."
)


def ahead(time: timedelta) -> str:
    """Return "2.0 s ahead of" or "2.0 s behind"."""
    seconds = time.total_seconds()
    return f"{abs(seconds):.1f} s {'ahead of' if seconds >= 0 else 'behind'}"
