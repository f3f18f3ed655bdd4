"""Each worker's keeper: a thread of the worker's main process that renews leases and sweeps.

It holds no database connection between two ticks, so that children forked meanwhile inherit none, and forks wait for
the end of a tick. Whatever fails in it is logged and tried again; it never takes the worker down.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid

from celery.worker import state
from django.db import connections

from django_task_safety import heartbeat, sweeper
from django_task_safety.conf import conf
from django_task_safety.tasks import SafeTask

logger = logging.getLogger("django_task_safety")

#: Seconds that a fork waits at most for a tick to end.
_FORK_WAIT = 1.0


class Keeper:
    """Renews the leases of what this worker runs every third of ``LEASE``, and sweeps every ``SWEEP_INTERVAL``."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._ticking = threading.Lock()
        self._thread: threading.Thread | None = None
        os.register_at_fork(before=self._before_fork, after_in_parent=self._after_fork, after_in_child=self._in_child)

    def start(self) -> None:
        """Start the thread; once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="task-safety-keeper", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end, and give a tick under way a moment to finish."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)

    def _run(self) -> None:
        now = time.monotonic()
        next_beat, next_sweep = now, now
        while not self._stopped.wait(max(0.0, min(next_beat, next_sweep) - time.monotonic())):
            with self._ticking:
                if time.monotonic() >= next_beat:
                    renew_running()
                    next_beat = time.monotonic() + conf().LEASE / 3
                if time.monotonic() >= next_sweep:
                    self._sweep()
                    next_sweep = time.monotonic() + conf().SWEEP_INTERVAL
                connections.close_all()

    def _sweep(self) -> None:
        if not conf().KEEPER:
            return
        try:
            if swept := sweeper.sweep():
                logger.info("swept: %s", swept)
        except Exception:
            logger.warning("the sweep failed and will be tried again", exc_info=True)

    def _before_fork(self) -> None:
        self._held = threading.current_thread() is not self._thread and self._ticking.acquire(timeout=_FORK_WAIT)

    def _after_fork(self) -> None:
        if self._held:
            self._ticking.release()

    def _in_child(self) -> None:
        # The thread does not exist here.
        self._thread, self._ticking = None, threading.Lock()


def renew_running() -> None:
    """Renew the leases of the operations that this worker's pool runs now."""
    if pks := running_ids():
        heartbeat.renew(pks)


def running_ids() -> list[uuid.UUID]:
    """Return the ids of the safe tasks that the pool runs, as the worker's main process knows them."""
    from django_task_safety.delivery import message_id

    for _ in range(100):
        try:
            active = list(state.active_requests)
            break
        except RuntimeError:  # another thread changed the set meanwhile
            continue
    else:
        active = []
    return [message_id(request.id) for request in active if isinstance(request.task, SafeTask)]
