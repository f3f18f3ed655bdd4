"""Between two safe tasks a worker keeps its database connection.

Celery closes every connection before and after each task, since 5.6 whatever ``CONN_MAX_AGE`` says. A new one costs a
task more than its claim and its settling together: the server starts a process for it, which reads the catalogue from
the beginning.

Where the project set ``CONN_MAX_AGE``, that is how long a connection lives, and it stays as the last task left it, as
Django's do. Where it did not, a connection to PostgreSQL waits ``CONN_MAX_IDLE`` seconds for the next task, which finds
it as new (`reset_session`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from django.db import Error, InterfaceError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from kombu.utils.compat import detect_environment

from django_task_safety.ledger import table, worker_id
from django_task_safety.worker import reset_session, sessions
from django_task_safety.worker.sessions import Session

T = TypeVar("T")


class _Kept(threading.local):
    session: Session | None = None


_kept = _Kept()


def keep() -> None:
    """Put this thread's connection where Celery does not close it, if it may live on."""
    connection = table.connection()
    if connection.in_atomic_block or _kept.session is not None or not _may_last(connection):
        return
    lasting = connection.settings_dict["CONN_MAX_AGE"] != 0
    _kept.session = _as_it_is(connection) if lasting else reset_session.put_away(connection)


def _may_last(connection: BaseDatabaseWrapper) -> bool:
    # A SQLite file is opened in no time, and a database in memory is its connection. A greenlet ends with its task.
    lasting = connection.connection is not None and connection.vendor != "sqlite"
    return lasting and worker_id.in_worker() and detect_environment() == "default"


def _as_it_is(connection: BaseDatabaseWrapper) -> Session | None:
    connection.close_if_unusable_or_obsolete()
    if connection.connection is None or not _ended(connection):
        return None
    session = Session(connection.alias, connection.connection, close_at=connection.close_at)
    connection.connection = None
    return session


def _ended(connection: BaseDatabaseWrapper) -> bool:
    """End a transaction that was begun by hand, which would go on in the next task; return whether the server did."""
    try:
        connection.rollback()
    except Error:
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
        if connection is None or (connection.connection is not None and connection.is_usable()):
            raise
        connection.close()
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
    driver = session.take()
    if driver is None:
        return None  # it waited too long
    if session.params is None:
        _go_on(connection, driver, session.close_at)
    else:
        reset_session.set_up(connection, driver, session.params)
    return connection if connection.connection is not None else None


def _go_on(connection: BaseDatabaseWrapper, driver: Any, close_at: float | None) -> None:
    connection.connection, connection.close_at = driver, close_at
    # As after connecting, whatever became of another one meanwhile.
    connection.autocommit = connection.settings_dict["AUTOCOMMIT"]
    connection.errors_occurred = connection.closed_in_transaction = connection.needs_rollback = False
    connection.close_if_unusable_or_obsolete()


def abandon() -> None:
    """Leave a connection on which a write failed: a server that lost its role still answers, but takes none."""
    connection = table.connection()
    if not connection.in_atomic_block:
        connection.close()


def close() -> None:
    """Close what this thread keeps, and what waits in others for a task that does not come any more."""
    sessions.close_all()
    if _kept.session is not None:
        _kept.session.close()
        _kept.session = None
