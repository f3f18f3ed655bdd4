"""Why something does not move, in sentences: the one place for them."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.utils.formats import date_format
from django.utils.timezone import is_aware, localtime
from django.utils.translation import gettext

from django_task_safety.conf import conf
from django_task_safety.fleet.this_side import Side
from django_task_safety.fleet.workers import Fleet, knows
from django_task_safety.ledger.querysets import READ_WITH
from django_task_safety.objects.conflicts import LOCK
from django_task_safety.record import AbstractOperation, State
from django_task_safety.worker_record import AbstractWorker

#: Seconds by which a row may be late for the sweeper without that being missed.
_SWEEP_LATE = 30.0


def no_worker() -> str:
    """Nobody takes messages at all."""
    return gettext("No worker is running.")


def nobody_listens(queue: str) -> str:
    """There are workers, but none for this queue."""
    return gettext("No worker listens to the queue “%(queue)s”.") % {"queue": queue}


def hands_nothing_out(queue: str) -> str:
    """A heartbeat does not arrive, though a worker has a free slot."""
    return gettext("The queue “%(queue)s” hands nothing out, though its workers are free: restart them.") % {
        "queue": queue
    }


def nobody_knows(task: str) -> str:
    """No worker that would get the message has the task."""
    return gettext("No running worker knows the task %(task)s.") % {"task": task}


def nobody_sweeps(since: datetime | None) -> str:
    """What is lost stays lost until somebody does."""
    if since is None:
        return gettext("Nobody sweeps: what is lost is not published again.")
    return gettext("Nobody sweeps since %(time)s: what is lost is not published again.") % {"time": _moment(since)}


def not_taken(queue: str, task: str, fleet: Fleet) -> str:
    """Return why nobody can take such a message; "" where somebody can."""
    if not fleet.alive:
        return no_worker()
    listening = fleet.listening(queue)
    if not listening:
        return nobody_listens(queue)
    if task != LOCK and not any(knows(worker, task) for worker in listening):
        return nobody_knows(task)
    return ""


def worker_differs(worker: AbstractWorker, side: Side) -> str:
    """Return in what a worker runs something else than this side does; "" where it runs the same."""
    versions = (
        ("django-task-safety", worker.package, side.package),
        ("Celery", worker.celery, side.celery),
        ("Django", worker.django, side.django),
    )
    for what, there, here in versions:
        if there != here:
            return gettext("It runs %(what)s %(there)s, this side runs %(here)s.") % {
                **{"what": what, "there": there, "here": here}
            }
    return gettext("Its settings are not those of this side.") if worker.settings != side.settings else ""


def worker_gone(worker: AbstractWorker) -> str:
    """It did not say that it stops, and is silent."""
    return gettext("Since %(time)s it has not been heard of.") % {"time": _moment(worker.last_seen)}


def why(operation: AbstractOperation) -> str:
    """Return why a pending operation does not move; "" where it is not due, or runs under a lease."""
    if not operation.is_pending:
        return ""
    fleet, due = _fleet_beside(operation), operation.due_at
    now = fleet.now
    if operation.state == State.QUEUED and operation.available_at <= now:
        return not_taken(operation.queue, operation.task, fleet) or _waits(operation, fleet)
    if operation.state == State.RUNNING and due is not None and due <= now:
        return _lost(operation, fleet)
    return ""


def share_fleet(operations: Iterable[AbstractOperation]) -> None:
    """Have operations share one look at the workers, though they were not read together."""
    shared: dict[str, Fleet] = {}
    for operation in operations:
        operation.__dict__[READ_WITH] = shared


def _fleet_beside(operation: AbstractOperation) -> Fleet:
    """Return the workers as they were seen for the rows that were read together with this one."""
    shared: dict[str, Fleet] = operation.__dict__.get(READ_WITH, {})
    if "fleet" not in shared:
        shared["fleet"] = Fleet.read()
    return shared["fleet"]


def _is_missed(operation: AbstractOperation, fleet: Fleet) -> bool:
    """Return whether the sweeper should have looked at the row long ago, and there is none."""
    patience = timedelta(seconds=conf().SWEEP_INTERVAL + _SWEEP_LATE)
    return not fleet.is_swept and operation.due_at is not None and fleet.now - operation.due_at > patience


def _waits(operation: AbstractOperation, fleet: Fleet) -> str:
    if _is_missed(operation, fleet):
        return nobody_sweeps(fleet.last_sweep)
    since = {"time": _moment(operation.available_at)}
    if fleet.is_busy(fleet.listening(operation.queue)):
        return gettext("It is due since %(time)s, and the workers of its queue are busy.") % since
    return gettext("It is due since %(time)s; it waits behind others, or its message is lost and sent again.") % since


def _lost(operation: AbstractOperation, fleet: Fleet) -> str:
    if _is_missed(operation, fleet):
        return nobody_sweeps(fleet.last_sweep)
    if not operation.worker:
        return gettext("Its lease ended; the sweeper takes it over.")
    worker = fleet.named(operation.worker)
    if worker is not None and not fleet.is_alive(worker):
        said = {"worker": worker.name, "time": _moment(worker.last_seen)}
        return gettext("Its worker %(worker)s has not been heard of since %(time)s; the sweeper takes it over.") % said
    who = worker.name if worker is not None else operation.worker
    return gettext("Its worker %(worker)s has not renewed its lease; the sweeper takes it over.") % {"worker": who}


def _moment(moment: datetime) -> str:
    return date_format(localtime(moment) if is_aware(moment) else moment, "DATETIME_FORMAT")
