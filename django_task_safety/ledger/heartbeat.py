"""Renew the leases of what this process runs, from a thread of its own that exists only while there is something."""

import dataclasses
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from django_task_safety.conf import conf
from django_task_safety.ledger import schedule, table, worker_id
from django_task_safety.ledger.own_connections import own_connections
from django_task_safety.record import AbstractOperation
from django_task_safety.values import codec

logger = logging.getLogger("django_task_safety")

#: Seconds until the next try where a lease could not be renewed.
_SOON = 1.0


class Heartbeat:
    """Keeps the leases of what this process holds, where no worker's keeper does: operations that run, and locks."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        #: The seconds of each one's lease.
        self._held: dict[uuid.UUID, float] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @contextmanager
    def holding(self, operation: AbstractOperation, *, renewed: bool) -> Iterator[None]:
        """Renew the operation's lease during the block, unless it is ``renewed`` by a keeper."""
        if renewed or table.connection().in_atomic_block:
            # Nobody takes what nobody sees yet.
            yield
            return
        self.start(operation.pk, conf().LEASE)
        try:
            yield
        finally:
            self.stop(operation.pk)

    def start(self, pk: uuid.UUID, lease: float) -> None:
        """Renew a lease every third of its ``lease`` seconds, until `stop`."""
        if _in_memory():
            return
        if self._pid != os.getpid():
            self._reset()
        with self._changed:
            self._held[pk] = lease
            if self._thread is None:
                self._thread = threading.Thread(target=self._beat, name="task-safety-heartbeat", daemon=True)
                self._thread.start()
            self._changed.notify()

    def stop(self, pk: uuid.UUID) -> None:
        """Leave a lease alone from now on."""
        with self._changed:
            self._held.pop(pk, None)
            self._changed.notify()

    def _beat(self) -> None:
        renewed: dict[uuid.UUID, float] = {}
        while True:
            with self._changed:
                now = time.monotonic()
                renewed = {pk: renewed.get(pk, now) for pk in self._held}
                if not renewed:
                    self._thread = None
                    return
                wait = min(renewed[pk] + lease / 3 for pk, lease in self._held.items()) - now
                if wait > 0:
                    self._changed.wait(wait)
                    continue
                due = {pk: lease for pk, lease in self._held.items() if renewed[pk] + lease / 3 <= now}
            for lease in set(due.values()):
                those = [pk for pk, one in due.items() if one == lease]
                result = renew(those, lease)
                with self._changed:
                    for pk in result.ended:
                        self._held.pop(pk, None)
                renewed.update(dict.fromkeys(those, time.monotonic() - lease / 3 + result.next_in))


def _in_memory() -> bool:
    """Return whether no other connection can see this one's rows."""
    connection = table.connection()
    return connection.vendor == "sqlite" and connection.is_in_memory_db()  # type: ignore[attr-defined]


@dataclasses.dataclass(frozen=True, slots=True)
class Renewal:
    """What became of leases that were to be renewed."""

    #: Seconds until they are to be renewed again.
    next_in: float
    #: Those that do not run any more.
    ended: tuple[uuid.UUID, ...] = ()


@own_connections()
def renew(pks: list[uuid.UUID], lease: float) -> Renewal:
    """Renew the leases of this process's operations; log what prevents it. Leaves no connection open."""
    usual, soon = lease / 3, min(lease / 3, _SOON)
    try:
        renewed = schedule.renew(pks, worker_id.me(), lease)
        if renewed == len(pks):
            return Renewal(usual)
        running = set(table.run_by(worker_id.me(), *pks).values_list("pk", flat=True))
    except Exception as exc:
        logger.warning("%d lease(s) could not be renewed: %s", len(pks), codec.describe(exc))
        return Renewal(soon)
    # Those that somebody has locked are to be renewed as soon as that is over.
    return Renewal(usual if renewed >= len(running) else soon, tuple(set(pks) - running))


heartbeat = Heartbeat()
