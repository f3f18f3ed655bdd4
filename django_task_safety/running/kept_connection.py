"""Between two safe tasks a worker keeps its database connection for as long as ``CONN_MAX_AGE`` says.

Celery closes every connection before and after each task, whatever that setting says. A new one costs a task more than
its claim and its settling together: the server starts a process for it, which reads the catalogue from the beginning.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from kombu.utils.compat import detect_environment

from django_task_safety.storage import table

T = TypeVar("T")


@dataclasses.dataclass(slots=True)
class _Session:
    """The driver's own connection: Django's object stays, with what others tell it before the next task."""

    alias: str
    driver: Any
    close_at: float | None

    def close(self) -> None:
        """Close the connection, unless Django's object has it again."""
        driver, self.driver = self.driver, None
        if driver is not None:
            driver.close()

    def __del__(self) -> None:
        # Its thread has ended.
        with contextlib.suppress(Exception):
            self.close()


class _Kept(threading.local):
    session: _Session | None = None


_kept = _Kept()


def keep() -> None:
    """Put this thread's connection where Celery does not close it, unless Django would close it too."""
    connection = table.connection()
    if not _lasting(connection) or connection.in_atomic_block or _kept.session is not None:
        return
    connection.close_if_unusable_or_obsolete()
    if connection.connection is not None and _ended(connection):
        _kept.session = _Session(connection.alias, connection.connection, connection.close_at)
        connection.connection = None


def _lasting(connection: BaseDatabaseWrapper) -> bool:
    # A SQLite file is opened in no time, and a database in memory is its connection. A greenlet ends with its task.
    wanted = connection.settings_dict["CONN_MAX_AGE"] != 0 and connection.vendor != "sqlite"
    return wanted and detect_environment() == "default"


def _ended(connection: BaseDatabaseWrapper) -> bool:
    """End a transaction that was begun by hand, which would go on in the next task; return whether the server did."""
    try:
        connection.rollback()
    except DatabaseError:
        return False
    return True


def using(call: Callable[[], T]) -> T:
    """Make a call that may be repeated, on the kept connection if there is one; once more on a new one if it is dead.

    It stays this thread's connection afterwards.
    """
    connection = _take()
    try:
        return call()
    except (OperationalError, InterfaceError):
        if connection is None:
            raise
        connection.close_if_unusable_or_obsolete()
        if connection.connection is not None:
            raise
    return call()


def _take() -> BaseDatabaseWrapper | None:
    """Make the kept connection this thread's again; None where there is none, or it is too old."""
    session = _kept.session
    if session is None:
        return None
    connection = connections[session.alias]
    if connection.connection is not None or connection.in_atomic_block:
        return None  # another one is open meanwhile, as the body of a plain task may have it
    _kept.session = None
    connection.connection, connection.close_at, session.driver = session.driver, session.close_at, None
    # As after connecting, whatever became of another one meanwhile.
    connection.autocommit = connection.settings_dict["AUTOCOMMIT"]
    connection.errors_occurred = connection.closed_in_transaction = connection.needs_rollback = False
    connection.close_if_unusable_or_obsolete()
    return connection if connection.connection is not None else None


def abandon() -> None:
    """Leave a connection on which a write failed: a server that lost its role still answers, but takes none."""
    connection = table.connection()
    if not connection.in_atomic_block:
        connection.close()


def close() -> None:
    """Close what this thread keeps."""
    if _kept.session is not None:
        _kept.session.close()
        _kept.session = None
