"""Notice that a body's transaction is gone, before it is settled as if it were there; a compensation's as well.

On MariaDB and MySQL TRUNCATE and every DDL statement commit what was written before, and a deadlock rolls all of it
back. What comes after that runs in another transaction, and Django does not hear of it. A savepoint does not outlive
its transaction: one is made before each statement that may commit, and asked for after it. Others cost nothing.

On SQLite a cursor's executescript() commits. There the driver knows whether a transaction is open.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from celery.exceptions import Ignore
from django.db import DatabaseError, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import TransactionManagementError

from django_task_safety.context import Attempt
from django_task_safety.errors import ImplicitCommit, TransactionRolledBack
from django_task_safety.ledger import innodb, table
from django_task_safety.values import codec

#: What never commits, alone; the database decides about the rest.
_PLAIN = re.compile(
    r"[\s(]*(SET\s+STATEMENT\s+\S+\s+FOR\s+)?"
    r"(SELECT|INSERT|UPDATE|DELETE|REPLACE|WITH|VALUES|SHOW|DO|SAVEPOINT|RELEASE\s+SAVEPOINT|ROLLBACK\s+TO|SET\s+@\w)",
    re.IGNORECASE,
)


@contextmanager
def watched(attempt: Attempt) -> Iterator[None]:
    """Run the body in the block. Raises `ImplicitCommit` if it ended its transaction, also if it raised something else,
    and `TransactionRolledBack` if the database did, and the body went on."""
    if not attempt.task.atomic:
        yield
        return
    with open_to_the_end(partial(_committed, attempt)):
        yield


@contextmanager
def open_to_the_end(committed: Callable[[str], ImplicitCommit]) -> Iterator[None]:
    """Run the block in the transaction that is open, and raise as `watched` does where that is gone.

    Args:
        committed: Makes the error of the statement that committed.
    """
    connection = table.connection()
    if connection.vendor != "mysql":
        with _open_in_sqlite(connection, committed):
            yield
        return
    watch = _Watch(connection, committed)
    try:
        with connection.execute_wrapper(watch):
            yield
    except Exception as exc:
        # The last two would keep what is gone, or say no more than that it is.
        told = watch.committed or isinstance(exc, Ignore | TransactionManagementError)
        if watch.gone is None or exc is watch.gone or not told:
            raise
        raise watch.gone from exc
    if watch.gone is not None:
        raise watch.gone


@contextmanager
def _open_in_sqlite(connection: BaseDatabaseWrapper, committed: Callable[[str], ImplicitCommit]) -> Iterator[None]:
    driver = connection.connection if connection.vendor == "sqlite" else None
    try:
        yield
    except Exception as exc:
        # Where its disk is full SQLite itself rolls back, and says so first.
        told = not isinstance(exc, DatabaseError) or "no such savepoint" in str(exc)
        if driver is not None and told and _has_committed(driver):
            raise committed("executescript") from exc
        raise
    if driver is not None and _has_committed(driver):
        raise committed("executescript")


def _has_committed(driver: Any) -> bool:
    try:
        return not driver.in_transaction
    except Exception:
        return False  # the body closed it, of which Django knows


def _committed(attempt: Attempt, statement: str) -> ImplicitCommit:
    """Return the error that says so; this attempt is the last one, however it ends."""
    operation = attempt.operation
    operation.max_attempts = operation.attempt
    return ImplicitCommit(
        f"Its body committed its transaction by the statement {statement!r}: what it wrote before stays, whatever "
        "becomes of it, so that it is not run again. Let such a task do without a transaction (atomic=False), or "
        "take the statement out of it",
        operation,
    )


class _Watch:
    """Sees each statement that the body sends."""

    def __init__(self, connection: BaseDatabaseWrapper, made: Callable[[str], ImplicitCommit]) -> None:
        self._connection, self._made = connection, made
        #: Several may watch, one in the other: each has a savepoint of its own.
        self._mark = f"task_safety_{id(self)}"
        #: What became of the transaction.
        self.gone: ImplicitCommit | TransactionRolledBack | None = None
        self.committed = False

    def __call__(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        text = str(sql)
        may_commit = not _PLAIN.match(text) or ";" in text
        if may_commit:
            self._send(f"SAVEPOINT {self._mark}")
        try:
            result = execute(sql, params, many, context)
        except BaseException as exc:
            if isinstance(exc, OperationalError) and self._rolled_back(exc, may_commit):
                self._note_rollback(exc)
            elif may_commit:
                self._refuse_if_committed(text)
            raise
        if may_commit:
            self._refuse_if_committed(text)
        return result

    def _rolled_back(self, exc: OperationalError, may_commit: bool) -> bool:
        # A statement that timed out may have committed before it waited; one in a deadlock wrote.
        return table.is_deadlock(exc) or (not may_commit and innodb.rolled_back(self._connection, exc))

    def _note_rollback(self, exc: OperationalError) -> None:
        self.gone = self.gone or TransactionRolledBack(
            "The database rolled back the task's whole transaction, and the task went on: "
            f"{codec.describe(exc)}. Let the error end the attempt; the next one begins anew."
        )

    def _send(self, sql: str) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(sql)

    def _is_there(self) -> bool:
        try:
            self._send(f"RELEASE SAVEPOINT {self._mark}")
        except DatabaseError as exc:
            return bool(innodb.error_code(exc) != innodb.NO_SUCH_SAVEPOINT)
        return True

    def _refuse_if_committed(self, sql: str) -> None:
        if self._is_there():
            return
        self.gone = self._made(codec.one_line(sql)[:100])
        self.committed = True
        raise self.gone
