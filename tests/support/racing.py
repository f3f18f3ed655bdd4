"""Several connections at the same moment, and transactions that are open while something else happens."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from django.db import connection, transaction

from tests.support.workers import until

T = TypeVar("T")


def at_once(*works: Callable[[], T]) -> list[T]:
    """Do all of it at the same moment, each in a thread and on a connection of its own; return the answers in order."""
    start = threading.Barrier(len(works))

    def run(work: Callable[[], T]) -> T:
        try:
            connection.ensure_connection()
            start.wait(timeout=30)
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result(timeout=90) for future in [pool.submit(run, work) for work in works]]


def in_transaction(work: Callable[[], T]) -> Callable[[], T]:
    def run() -> T:
        with transaction.atomic():
            return work()

    return run


@contextmanager
def open_transaction(call: Callable[[], Any], *, commit: bool = True) -> Iterator[None]:
    """Have made the call in a transaction of another connection, which ends after the block."""
    made, end, failure = threading.Event(), threading.Event(), []

    def run():
        try:
            with transaction.atomic():
                call()
                made.set()
                assert end.wait(30)
                transaction.set_rollback(not commit)
        except Exception as exc:
            failure.append(exc)
            made.set()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert made.wait(30)
    try:
        yield
    finally:
        end.set()
        thread.join(30)
    assert failure == []


def assert_waits(future: "Future[Any]") -> None:
    """Wait until the server says that somebody waits for a lock, where it says so; else a moment."""
    if connection.vendor == "postgresql":
        until(lambda: waiting_for_a_lock() or future.done())
    else:
        threading.Event().wait(0.3)
    assert not future.done()


def waiting_for_a_lock() -> bool:
    """Return whether PostgreSQL says that somebody waits for a lock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])
