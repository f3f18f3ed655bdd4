"""Each worker's keeper: threads of the worker's main process. One renews leases, one sweeps, one says who is there.

They hold no database connection between two ticks, and never open a pool, so that children forked meanwhile inherit
neither, and forks wait for the end of a tick. Whatever fails in them is logged and tried again; they never take the
worker down.
"""

import logging
import os
import threading
import uuid
from collections.abc import Callable
from typing import Any

from celery.worker import state

from django_task_safety.conf import conf
from django_task_safety.ids import message_id
from django_task_safety.ledger import heartbeat
from django_task_safety.ledger.own_connections import own_connections
from django_task_safety.options import TaskOptions
from django_task_safety.values import codec
from django_task_safety.worker import sweeper
from django_task_safety.worker.presence import Presence

logger = logging.getLogger("django_task_safety")

#: Seconds that a fork waits at most for a tick to end.
_FORK_WAIT = 1.0


class _Loop:
    """A daemon thread that calls ``tick`` every ``interval`` seconds, and lets nobody fork in the middle of it."""

    def __init__(self, name: str, interval: Callable[[], float], tick: Callable[[], None]) -> None:
        self._interval, self._tick = interval, tick
        self._stopped = threading.Event()
        self._ticking = threading.Lock()
        self._held = False
        #: How the last tick failed.
        self._failure = ""
        self.thread: threading.Thread = threading.Thread(target=self._run, name=name, daemon=True)
        os.register_at_fork(before=self._before_fork, after_in_parent=self._after_fork, after_in_child=self._in_child)

    def stop(self) -> None:
        """Ask the thread to end, and give a tick under way a moment to finish."""
        self._stopped.set()
        self.thread.join(timeout=2.0)

    def _run(self) -> None:
        while not self._stopped.wait(self._interval()):
            with self._ticking:
                try:
                    with own_connections():
                        self._tick()
                    self._failure = ""
                except BaseException as exc:  # a signal's receiver may do anything
                    self._log(codec.describe(exc))

    def _log(self, failure: str) -> None:
        # A database that is down would fill the log with the same traceback.
        again, self._failure = failure == self._failure, failure
        said = codec.one_line(failure)
        logger.warning("%s failed and will be tried again: %s", self.thread.name, said, exc_info=not again)

    def _before_fork(self) -> None:
        self._held = threading.current_thread() is not self.thread and self._ticking.acquire(timeout=_FORK_WAIT)

    def _after_fork(self) -> None:
        if self._held:
            self._ticking.release()

    def _in_child(self) -> None:
        # The thread does not exist here.
        self._ticking = threading.Lock()


class Keeper:
    """Renews the leases of what this worker runs every third of ``LEASE``, sweeps every ``SWEEP_INTERVAL`` where
    ``KEEPER`` lets it, and says that the worker is there.

    In a thread each: a sweep that takes long must not cost this worker its leases, and neither of them waits for the
    row of a worker.
    """

    def __init__(self, consumer: Any = None) -> None:
        """
        Args:
            consumer: Celery's, of the worker; without one nothing is said of it.
        """
        self._loops = [_Loop("task-safety-leases", self._until_renewal, self._renew)]
        self._next_renewal: float | None = None
        self._presence = Presence(consumer) if consumer is not None else None
        if conf().KEEPER:
            self._loops.append(_Loop("task-safety-sweeper", lambda: conf().SWEEP_INTERVAL, self._sweep))
        if self._presence is not None:
            self._loops.append(_Loop("task-safety-presence", self._presence.until_next, self._presence.look_around))

    def _until_renewal(self) -> float:
        return conf().LEASE / 3 if self._next_renewal is None else self._next_renewal

    def _renew(self) -> None:
        self._next_renewal = renew_running()

    def start(self) -> None:
        """Start the threads; once."""
        for loop in self._loops:
            loop.thread.start()

    def stop(self) -> None:
        """End the threads."""
        for loop in self._loops:
            loop.stop()
        if self._presence is not None:
            self._presence.leave()

    def _sweep(self) -> None:
        _sweep()
        if self._presence is not None:
            self._presence.note_sweep()


def _sweep() -> None:
    if swept := sweeper.sweep():
        logger.info("swept: %s", swept)


def renew_running() -> float | None:
    """Renew the leases of the operations that this worker's pool runs now; return the seconds until the next time."""
    pks = running_ids()
    return heartbeat.renew(pks, conf().LEASE).next_in if pks else None


def running_ids() -> list[uuid.UUID]:
    """Return the ids of the safe tasks that the pool runs, as the worker's main process knows them."""
    for _ in range(100):
        try:
            active = list(state.active_requests)
            break
        except RuntimeError:  # another thread changed the set meanwhile
            continue
    else:
        active = []
    return [message_id(request.id) for request in active if isinstance(request.task, TaskOptions)]
