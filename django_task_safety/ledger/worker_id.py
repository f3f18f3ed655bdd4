"""Who this process is, and for how long it may own an operation."""

import os
import socket
import time
import uuid

from django_task_safety.conf import conf
from django_task_safety.options import TaskOptions

#: Seconds after the hard time limit before an attempt counts as hung: the pool itself kills it first where it can.
GRACE = 10.0
#: Seconds by which a pool may end an attempt before our own clock says so.
_EARLY = 0.5
#: Where a delivery's request keeps the moment at which it began (monotonic).
_BEGUN = "task_safety_begun"

_identity: str = ""
_identity_pid: int = 0
_worker: str = ""


def become_worker() -> str:
    """Take the identity of a worker; the children of its pool inherit it when they are forked."""
    global _worker
    _worker = _new_identity()
    return _worker


def me() -> str:
    """Return the identity under which this process claims: its worker's, or else its own."""
    global _identity, _identity_pid
    if _worker:
        return _worker
    if _identity_pid != os.getpid():
        _identity, _identity_pid = _new_identity(), os.getpid()
    return _identity


def in_worker() -> bool:
    """Return whether a worker's keeper renews what this process claims."""
    return bool(_worker)


def _new_identity() -> str:
    # The random part tells a restarted worker from the one that died under the same name.
    return f"{socket.gethostname()[:150]}:{os.getpid()}:{uuid.uuid4().hex[:12]}"


def limits(task: TaskOptions) -> tuple[float, float | None]:
    """Return the lease, and the seconds after which it is not renewed any more (None for never)."""
    hard = _hard_limit(task)
    return conf().LEASE, None if hard is None else hard + GRACE


def begin(task: TaskOptions) -> None:
    """Start the clock of the delivery that the task runs now: the pool counts from here, and a claim may take long."""
    vars(task.request)[_BEGUN] = time.monotonic()


def ran_out(task: TaskOptions) -> bool:
    """Return whether the delivery that the task runs now has had its hard time limit."""
    hard, now = _hard_limit(task), time.monotonic()
    return hard is not None and now - vars(task.request).get(_BEGUN, now) >= hard - _EARLY


def _hard_limit(task: TaskOptions) -> float | None:
    # "timelimit" is [hard, soft] as the caller gave it; Celery has a name for each only since 5.7.
    hard = (task.request.timelimit or (None, None))[0] or task.time_limit or task.app.conf.task_time_limit
    return None if hard is None else float(hard)
