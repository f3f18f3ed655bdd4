"""Between two safe tasks a worker keeps its database connection for as long as ``CONN_MAX_AGE`` says.

Celery closes every connection before and after each task, whatever that setting says. A new one costs a task more than
its claim and its settling together: the server starts a process for it, which reads the catalogue from the beginning.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from kombu.utils.compat import detect_environment

from django_task_safety.conf import conf
from django_task_safety.storage import table

T = TypeVar("T")


class _Kept(threading.local):
    connection: BaseDatabaseWrapper | None = None


_kept = _Kept()


def keep() -> None:
    """Put this thread's connection where Celery does not close it, unless Django would close it too."""
    connection = table.connection()
    if not _lasting(connection) or connection.in_atomic_block or _kept.connection is not None:
        return
    connection.close_if_unusable_or_obsolete()
    if connection.connection is not None:
        _kept.connection = connection
        del connections[connection.alias]


def _lasting(connection: BaseDatabaseWrapper) -> bool:
    # A SQLite file is opened in no time, and a database in memory is its connection. A greenlet ends with its task.
    wanted = connection.settings_dict["CONN_MAX_AGE"] != 0 and connection.vendor != "sqlite"
    return wanted and detect_environment() == "default"


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
    connection = _kept.connection
    if connection is None or _in_use(conf().DATABASE):
        return None
    _kept.connection = None
    connection.close_if_unusable_or_obsolete()
    if connection.connection is None:
        return None
    connections[conf().DATABASE] = connection
    return connection


def _in_use(alias: str) -> bool:
    """Return whether this thread has another connection open meanwhile, as the body of a plain task may."""
    opened = (found for found in connections.all(initialized_only=True) if found.alias == alias)
    return any(found.connection is not None or found.in_atomic_block for found in opened)


def close() -> None:
    """Close what this thread keeps."""
    connection, _kept.connection = _kept.connection, None
    if connection is not None:
        connection.close()
