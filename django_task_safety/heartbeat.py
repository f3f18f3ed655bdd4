"""Renew the leases of what this process runs, from a thread of its own that exists only while there is something."""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections

from django_task_safety import owners, schedule, table
from django_task_safety.conf import conf
from django_task_safety.models import Operation

logger = logging.getLogger("django_task_safety")


class Heartbeat:
    """Keeps the leases of the operations that this process holds, where no worker's keeper does."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._held: set[uuid.UUID] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @contextmanager
    def holding(self, operation: Operation, *, renewed: bool) -> Iterator[None]:
        """Renew the operation's lease during the block, unless it is ``renewed`` by a keeper."""
        if renewed or _unshared():
            yield
            return
        if self._pid != os.getpid():
            self._reset()
        with self._changed:
            self._held.add(operation.pk)
            if self._thread is None:
                self._thread = threading.Thread(target=self._beat, name="task-safety-heartbeat", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._held.discard(operation.pk)
                self._changed.notify()

    def _beat(self) -> None:
        due = time.monotonic() + conf().LEASE / 3
        while True:
            with self._changed:
                self._changed.wait(max(0.0, due - time.monotonic()))
                held = list(self._held)
                if not held:
                    self._thread = None
                    return
            if time.monotonic() >= due:
                renew(held)
                due = time.monotonic() + conf().LEASE / 3


def _unshared() -> bool:
    """Return whether no other connection can see this one's rows yet: nobody takes what nobody sees."""
    connection = table.connection()
    in_memory = connection.vendor == "sqlite" and connection.is_in_memory_db()  # type: ignore[attr-defined]
    return connection.in_atomic_block or in_memory


def renew(pks: list[uuid.UUID]) -> None:
    """Renew the leases of this process's operations; log what prevents it. Leaves no connection open."""
    try:
        schedule.renew(pks, owners.me(), conf().LEASE)
    except Exception:
        logger.warning("%d lease(s) could not be renewed", len(pks), exc_info=True)
    finally:
        connections.close_all()


heartbeat = Heartbeat()
