"""How long our own statements wait for what somebody else's transaction holds: not for as long as that goes on.

PostgreSQL waits for ever unless a transaction says otherwise, MariaDB and MySQL for their ``innodb_lock_wait_timeout``
(50 seconds unless it is set), SQLite for its connection's ``timeout``.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from typing import Any

from django.db import DatabaseError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BooleanField, Func

from django_task_safety.conf import conf
from django_task_safety.context import current_attempt
from django_task_safety.ledger import worker_id
from django_task_safety.record import AbstractOperation, OperationRows

#: Seconds that a claim waits for somebody who holds the row, or the key of a new one; then the worker's slot is given
#: free. MySQL waits for its own ``innodb_lock_wait_timeout``.
CLAIM_WAIT = 1


def wait_at_most(seconds: float) -> str:
    """Return PostgreSQL's condition under which a statement, and what follows in its transaction, waits so long for
    each lock: evaluated for the row that is found, before that is locked."""
    return f"set_config('lock_timeout', '{_milliseconds(seconds)}', TRUE) IS NOT NULL"


def _milliseconds(seconds: float) -> str:
    return f"{math.ceil(seconds * 1000)}ms"


class WaitAtMost(Func):
    """`wait_at_most` as a filter."""

    output_field = BooleanField()

    def __init__(self, seconds: float) -> None:
        super().__init__(template=wait_at_most(seconds))


def bounded(found: OperationRows, seconds: float | None) -> OperationRows:
    """Return the rows for an UPDATE that waits so long for who holds them, in a transaction that ends with it; with
    None, as long as the database is set up to."""
    if seconds is None or connections[found.db].vendor != "postgresql":
        return found
    return found.filter(WaitAtMost(seconds))


def wait_at_end(operation: AbstractOperation) -> float | None:
    """Return the seconds that the end of an attempt waits for whoever holds its row: as long as it would have been its
    own. None in a transaction of somebody else's, of which that would be a setting."""
    attempt = current_attempt()
    own = attempt is not None and attempt.operation is operation and not attempt.in_callers_transaction
    return conf().LEASE if own else None


def wait_in_slot(connection: BaseDatabaseWrapper, operation: AbstractOperation) -> float | None:
    """Return how many seconds a new row waits at most for a rival's uncommitted one, where that holds up a worker's
    slot: the row of an attempt that begins with it, or of what follows an attempt that has ended. Else None."""
    if operation.waits is not None or not connection.get_autocommit():
        return None
    if operation.worker:
        return CLAIM_WAIT
    return conf().LEASE if worker_id.in_worker() and current_attempt() is None else None


def if_free(connection: BaseDatabaseWrapper) -> str:
    """Return the lock that an UPDATE takes anyway, for rows that nobody holds."""
    strength = "FOR NO KEY UPDATE" if connection.vendor == "postgresql" else "FOR UPDATE"
    # MariaDB before 10.6 refuses the statement instead.
    return f"{strength} SKIP LOCKED" if connection.features.has_select_for_update_skip_locked else f"{strength} NOWAIT"


@contextmanager
def patience(seconds: float = CLAIM_WAIT) -> Iterator[None]:
    """Have each statement of the block, to whichever database, give up with the database's error when it has waited so
    long for a lock. MySQL and SQLite wait for as long as they are set up to."""
    with ExitStack() as stack:
        for alias in connections:
            connection = connections[alias]
            if connection.vendor == "postgresql":
                stack.enter_context(kept(connection))
                stack.enter_context(connection.execute_wrapper(partial(_postgresql, seconds)))
            elif getattr(connection, "mysql_is_mariadb", False):
                stack.enter_context(connection.execute_wrapper(partial(_mariadb, seconds)))
        yield


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
        execute(f"SET LOCAL lock_timeout = '{_milliseconds(seconds)}'", None, False, context)
        return execute(sql, params, many, context)


def _mariadb(
    seconds: float, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]
) -> Any:
    if _takes_locks(sql):
        sql = f"SET STATEMENT innodb_lock_wait_timeout={math.ceil(seconds)} FOR {sql}"
    return execute(sql, params, many, context)


@contextmanager
def kept(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Leave what follows the block in a transaction of somebody else's its own patience."""
    if connection.vendor != "postgresql" or not connection.in_atomic_block:
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('lock_timeout')")
        (before,) = cursor.fetchone()
    try:
        yield
    finally:
        # A transaction that is broken is rolled back, and this with it.
        with suppress(DatabaseError), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, TRUE)", [before])
