"""How long our own statements wait for what somebody else's transaction holds: not for as long as that goes on."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import Any

from django.db import DatabaseError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_task_safety.ledger.statements import CLAIM_WAIT


@contextmanager
def patience() -> Iterator[None]:
    """Have each statement of the block, to whichever database, give up with the database's error when it has waited for
    a lock as long as a claim does. MySQL and SQLite wait for as long as they are set up to."""
    with ExitStack() as stack:
        for alias in connections:
            connection = connections[alias]
            if connection.vendor == "postgresql":
                if connection.in_atomic_block:
                    stack.enter_context(_restored(connection))
                stack.enter_context(connection.execute_wrapper(_postgresql))
            elif getattr(connection, "mysql_is_mariadb", False):
                stack.enter_context(connection.execute_wrapper(_mariadb))
        yield


def _takes_locks(sql: Any) -> bool:
    """Return whether a statement may wait; the others may have to be sent in a transaction that is broken."""
    return str(sql).lstrip("( \n")[:6].upper() in ("SELECT", "INSERT", "UPDATE", "DELETE")


def _postgresql(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    if not _takes_locks(sql):
        return execute(sql, params, many, context)
    connection = context["connection"]
    with transaction.atomic(using=connection.alias) if connection.get_autocommit() else nullcontext():
        execute(f"SET LOCAL lock_timeout = '{CLAIM_WAIT}s'", None, False, context)
        return execute(sql, params, many, context)


def _mariadb(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    if _takes_locks(sql):
        sql = f"SET STATEMENT innodb_lock_wait_timeout={CLAIM_WAIT} FOR {sql}"
    return execute(sql, params, many, context)


@contextmanager
def _restored(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Leave the rest of a caller's transaction its own patience."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('lock_timeout')")
        (before,) = cursor.fetchone()
    try:
        yield
    finally:
        # A transaction that is broken is rolled back, and this with it.
        with suppress(DatabaseError), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, TRUE)", [before])
