"""Where the project set ``CONN_MAX_AGE``, a safe task's connection outlives the task; Celery 5.6 and later close it."""

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from django.db import Error, InterfaceError, OperationalError, transaction
from kombu.utils.compat import detect_environment

from django_task_safety.ledger import table, worker_id
from django_task_safety.ledger.own_connections import own_connections

logger = logging.getLogger("django_task_safety")

T = TypeVar("T")
_thread = threading.local()


class _Kept:
    # Nothing public takes the driver's connection out of Django's object. But ``atomic()`` sets the same attribute, and
    # ``close()``, in which backends forget whose tenant they serve, expects None there.
    def __init__(self, connection: Any) -> None:
        self.alias, self.pid, self.close_at = connection.alias, os.getpid(), connection.close_at
        self.driver, connection.connection = connection.connection, None

    def __del__(self) -> None:
        if self.driver is not None and self.pid == os.getpid():
            self.driver.close()  # its thread has ended, or keeps another one


def keep() -> None:
    """Put this thread's connection where Celery does not close it, if it may live on."""
    connection = table.connection()
    age, pool = connection.settings_dict["CONN_MAX_AGE"], connection.settings_dict["OPTIONS"].get("pool")
    lasting = age != 0 and not pool and connection.vendor != "sqlite" and detect_environment() == "default"
    if lasting and worker_id.in_worker() and not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()
        with suppress(Error):
            connection.rollback()  # what was begun by hand must not go on in the next task
            _thread.kept = _Kept(connection) if connection.connection is not None else None


def _put_back(connection: Any) -> None:
    kept = getattr(_thread, "kept", None)
    taken = connection.connection is not None or connection.in_atomic_block  # as in a plain task, which has its own
    if taken or kept is None or (kept.alias, kept.pid) != (connection.alias, os.getpid()):
        return
    # As ``connect()`` leaves it, whatever became of another one meanwhile.
    connection.connection, connection.close_at, kept.driver, _thread.kept = kept.driver, kept.close_at, None, None
    connection.autocommit = connection.settings_dict["AUTOCOMMIT"]
    connection.closed_in_transaction = connection.needs_rollback = False
    connection.close_if_unusable_or_obsolete()


def retry_if_dead(call: Callable[[], T]) -> T:
    """Make a call that may be repeated; once more on a new connection where it met a dead one in no transaction."""
    connection = table.connection()
    _put_back(connection)
    driver = connection.connection
    try:
        return call()
    except (OperationalError, InterfaceError):
        left = driver is not None and connection.connection is not driver  # as ``atomic()`` does with a dead one
        works = connection.connection is None or connection.is_usable()
        if connection.in_atomic_block or not connection.autocommit or (works and not left):
            raise
        connection.close()
    return call()


def abandon() -> None:
    """Leave a connection on which a write failed: a server that lost its role still answers, but takes none.

    In a caller's transaction nobody knows what is left of that: it does not commit.
    """
    connection = table.connection()
    if connection.in_atomic_block:
        transaction.set_rollback(True, using=connection.alias)
    else:
        connection.close()


@contextmanager
def briefly(what: str) -> Iterator[None]:
    """Use the database in the pool's parent, which must not keep a connection for later children to inherit, nor open a
    pool.

    Args:
        what: What the row is to be told. Whatever prevents that is logged.
    """
    try:
        with own_connections():
            yield
    except BaseException:  # a signal's receiver may do anything
        logger.exception("an operation's row could not be told that %s; its lease will run out", what)


def close() -> None:
    """Close what this thread keeps."""
    _thread.kept = None
