"""How long our own statements wait for what somebody else's transaction holds: not for as long as that goes on."""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from typing import Any, TypeVar

from django.db import DatabaseError, OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_task_safety.ledger import table
from django_task_safety.ledger.statements import CLAIM_WAIT

T = TypeVar("T")


@contextmanager
def patience(seconds: float = CLAIM_WAIT) -> Iterator[None]:
    """Have each statement of the block, to whichever database, give up with the database's error when it has waited so
    long for a lock. MySQL and SQLite wait for as long as they are set up to."""
    with ExitStack() as stack:
        for alias in connections:
            connection = connections[alias]
            if connection.vendor == "postgresql":
                if connection.in_atomic_block:
                    stack.enter_context(_restored(connection))
                stack.enter_context(connection.execute_wrapper(partial(_postgresql, seconds)))
            elif getattr(connection, "mysql_is_mariadb", False):
                stack.enter_context(connection.execute_wrapper(partial(_mariadb, seconds)))
        yield


def unless_held(call: Callable[[], T]) -> T | None:
    """Make a call that waits for nobody's lock for long; None where it gave up."""
    try:
        with patience():
            return call()
    except OperationalError as exc:
        if not table.is_lock_timeout(exc):
            raise
        return None


def _takes_locks(sql: Any) -> bool:
    """Return whether a statement may wait; the others may have to be sent in a transaction that is broken."""
    return str(sql).lstrip("( \n")[:6].upper() in ("SELECT", "INSERT", "UPDATE", "DELETE")


def _postgresql(
    seconds: float, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]
) -> Any:
    if not _takes_locks(sql):
        return execute(sql, params, many, context)
    connection = context["connection"]
    with transaction.atomic(using=connection.alias) if connection.get_autocommit() else nullcontext():
        execute(f"SET LOCAL lock_timeout = {math.ceil(seconds * 1000)}", None, False, context)
        return execute(sql, params, many, context)


def _mariadb(
    seconds: float, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]
) -> Any:
    if _takes_locks(sql):
        sql = f"SET STATEMENT innodb_lock_wait_timeout={math.ceil(seconds)} FOR {sql}"
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
