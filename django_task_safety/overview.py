"""All that is to be seen of operations, queues and workers at one moment, in a few bounded statements."""

import dataclasses
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.utils.translation import ngettext

from django_task_safety.conf import conf
from django_task_safety.fleet import reasons
from django_task_safety.fleet.this_side import this_side
from django_task_safety.fleet.workers import Fleet
from django_task_safety.ledger import counts
from django_task_safety.ledger.counts import Group
from django_task_safety.models import Operation, Queue
from django_task_safety.record import State
from django_task_safety.worker_record import AbstractQueue, AbstractWorker

#: Where a count stops.
COUNT = 1000
#: So many queues are shown.
_QUEUES = 500
#: What was measured longer ago says nothing of now.
_FRESH = timedelta(minutes=2)
#: A heartbeat takes no longer where a worker has a free slot.
_SILENT = timedelta(minutes=2)


@dataclasses.dataclass(frozen=True, slots=True)
class Count:
    """A number that stops at ``COUNT``."""

    number: int
    #: Whether there are more than that.
    more: bool = False

    def __str__(self) -> str:
        return f"{self.number:,}+" if self.more else f"{self.number:,}"


@dataclasses.dataclass(frozen=True, slots=True)
class QueueStatus:
    """One queue: what waits in it, what runs of it, and how long things take to start."""

    name: str
    #: Operations that are due and not taken, up to `django_task_safety.ledger.counts.LIMIT` in all queues.
    due: int
    #: For how long the first of them has been due.
    oldest: timedelta | None
    running: int
    #: Seconds from due to start, over the operations started in the last minutes; None where there were none.
    latency_p50: float | None
    latency_p95: float | None
    #: How long the last heartbeat message took; or the one on its way has been taking, where that is longer.
    heartbeat: timedelta | None
    #: The names of the running workers that listen to it.
    workers: list[str]
    #: What is wrong, in a sentence; "" for nothing.
    problem: str


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One worker, as it last said."""

    identity: str
    name: str
    host: str
    pool: str
    concurrency: int
    queues: list[str]
    #: Versions, and the fingerprint of its settings.
    package: str
    celery: str
    django: str
    settings: str
    last_seen: datetime
    last_sweep: datetime | None
    alive: bool
    #: What is wrong, in a sentence; "" for nothing.
    problem: str


@dataclasses.dataclass(frozen=True, slots=True)
class Overview:
    """All of it."""

    counts: dict[State, Count]
    queues: list[QueueStatus]
    workers: list[WorkerStatus]
    #: How many operations are stuck, at most `COUNT`.
    stuck: int
    last_sweep: datetime | None
    #: What is wrong, in sentences.
    problems: list[str]


def overview() -> Overview:
    """Return what there is to be seen now; in about a dozen statements, of which none reads all of the table."""
    fleet, groups = Fleet.read(), counts.groups()
    workers = [_worker(row, fleet) for row in fleet.workers]
    queues = _queues(fleet, groups)
    return Overview(
        counts={state: _count(state) for state in State},
        queues=queues,
        workers=workers,
        stuck=min(sum(counts.number(Operation.objects.stuck(), state, COUNT) for state in Operation.PENDING), COUNT),
        last_sweep=fleet.last_sweep,
        problems=_problems(fleet, groups, queues, workers),
    )


def _count(state: State) -> Count:
    found = counts.number(counts.operations(), state, COUNT + 1)
    return Count(min(found, COUNT), found > COUNT)


def _worker(row: AbstractWorker, fleet: Fleet) -> WorkerStatus:
    alive = fleet.is_alive(row)
    said = {
        field.name: getattr(row, field.name) for field in dataclasses.fields(WorkerStatus) if hasattr(row, field.name)
    }
    problem = reasons.worker_differs(row, this_side()) if alive else reasons.worker_gone(row)
    return WorkerStatus(**said, alive=alive, problem=problem)


def _queues(fleet: Fleet, groups: Sequence[Group]) -> list[QueueStatus]:
    """Return the queues that workers listen to, and those in which something waits."""
    listened = {name for worker in fleet.alive for name in worker.queues}
    names = sorted(listened | {group.queue for group in groups if group.queue})[:_QUEUES]
    measured = {row.name: row for row in Queue.objects.using(conf().DATABASE).filter(pk__in=names)}
    return [_queue(name, measured.get(name), fleet, [one for one in groups if one.queue == name]) for name in names]


def _queue(name: str, row: AbstractQueue | None, fleet: Fleet, groups: Sequence[Group]) -> QueueStatus:
    due = [group for group in groups if group.state == State.QUEUED]
    fresh = row is not None and fleet.now - row.measured_at <= _FRESH
    workers = [worker.name for worker in fleet.listening(name)]
    return QueueStatus(
        name=name,
        due=sum(group.number for group in due),
        oldest=max((fleet.now - group.oldest for group in due), default=None),
        running=sum(group.number for group in groups if group.state == State.RUNNING),
        latency_p50=row.latency_p50 if row and fresh else None,
        latency_p95=row.latency_p95 if row and fresh else None,
        heartbeat=_heartbeat(row, fleet) if row and workers else None,
        workers=workers,
        problem=_queue_problem(name, row if fresh else None, fleet),
    )


def _on_its_way(row: AbstractQueue, fleet: Fleet) -> timedelta | None:
    return fleet.now - row.heartbeat_sent if row.heartbeat_sent and row.heartbeat_arrived is None else None


def _heartbeat(row: AbstractQueue, fleet: Fleet) -> timedelta | None:
    times = (_on_its_way(row, fleet), row.heartbeat)
    return max((time for time in times if time is not None), default=None)


def _queue_problem(name: str, row: AbstractQueue | None, fleet: Fleet) -> str:
    listening = fleet.listening(name)
    if not listening:
        return reasons.nobody_listens(name)
    # Where something was started of late, a heartbeat was lost with its worker, or met one that does not know it.
    silent = _on_its_way(row, fleet) if row and row.latency_p50 is None else None
    if silent and silent > _SILENT and not fleet.is_busy(listening):
        return reasons.hands_nothing_out(name)
    return ""


def _problems(
    fleet: Fleet, groups: Sequence[Group], queues: Sequence[QueueStatus], workers: Sequence[WorkerStatus]
) -> list[str]:
    waiting: dict[str, int] = {}
    for group in groups:
        if group.state == State.QUEUED and (sentence := reasons.not_taken(group.queue, group.task, fleet)):
            waiting[sentence] = waiting.get(sentence, 0) + group.number
    if not fleet.alive:
        waiting.setdefault(reasons.no_worker(), 0)
    found = [_with_number(sentence, number) for sentence, number in waiting.items()]
    if fleet.alive and not fleet.is_swept:
        found.append(reasons.nobody_sweeps(fleet.last_sweep))
    found += [queue.problem for queue in queues if queue.workers and queue.problem]
    return found + [f"{worker.name}: {worker.problem}" for worker in workers if worker.alive and worker.problem]


def _with_number(sentence: str, number: int) -> str:
    if not number:
        return sentence
    wait = ngettext("%(count)s operation waits.", "%(count)s operations wait.", number) % {"count": f"{number:,}"}
    return f"{sentence} {wait}"
