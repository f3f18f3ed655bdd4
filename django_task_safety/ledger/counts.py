"""How much waits, and runs, in each queue. Counts that stop: none of these statements reads the whole table."""

import dataclasses
from collections.abc import Collection
from datetime import datetime
from typing import Any

from django.db.models import Count, Q, QuerySet

from django_task_safety.ledger import table
from django_task_safety.record import AbstractOperation, State, operation_model
from django_task_safety.values.clock import After, Now, as_read

#: How many pending rows are looked at.
LIMIT = 50_000


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """The operations of one task, in one queue, that are due, or run."""

    queue: str
    task: str
    state: str
    number: int
    #: When the first of them became due.
    oldest: datetime


def operations() -> QuerySet[Any]:
    """Return all operations, without those that only wait for another one."""
    found: QuerySet[Any] = operation_model().objects.get_queryset()
    return found


def number(found: QuerySet[Any], limit: int) -> int:
    """Return how many there are, at most ``limit``."""
    return found.order_by()[:limit].count()


def groups() -> list[Group]:
    """Return what is due and what runs, by queue and task; two statements, each over the first `LIMIT` rows."""
    due = operations().filter(state=State.QUEUED, available_at__lte=Now())
    return [*_groups(due), *_groups(operations().filter(state=State.RUNNING))]


def _groups(found: QuerySet[Any]) -> list[Group]:
    db = table.connection()
    columns = found.order_by("created_at", "id").values("queue", "task", "state", "available_at")
    inner, params = columns[:LIMIT].query.get_compiler(connection=db).as_sql()
    sql = f"SELECT queue, task, state, COUNT(*), MIN(available_at) FROM ({inner}) AS found GROUP BY queue, task, state"
    with db.cursor() as cursor:
        cursor.execute(sql, params)
        rows = cursor.fetchall()
    return [Group(queue, task, state, count, as_read(db, oldest)) for queue, task, state, count, oldest in rows]


def running_by_worker() -> dict[str, int]:
    """Return how many operations each worker runs."""
    running = operations().filter(state=State.RUNNING).order_by()
    return dict(running.values_list("worker").annotate(number=Count("pk")))


def latencies(retentions: Collection[float], seconds: float, limit: int) -> list[tuple[str, float, datetime]]:
    """Return queue, seconds from due to start, and start of those that were started in the last ``seconds``: at most
    ``limit`` of them.

    The index that says when rows are due finds the running ones, and those that ended of late by the end of their
    retention.

    Args:
        retentions: For how many seconds operations are kept: each length that tasks have.
    """
    started = Q(state=State.RUNNING, due_at__gt=Now(), due_at__lte=After(seconds))
    for kept in retentions:
        ended = Q(due_at__gt=After(kept - seconds), due_at__lte=After(kept))
        started |= ended & ~Q(state__in=AbstractOperation.PENDING)
    found = operations().filter(started, started_at__gt=After(-seconds))
    rows = found.order_by("-due_at").values_list("queue", "available_at", "started_at")[:limit]
    # What became available after it was started are newer arguments.
    return [(queue, (start - due).total_seconds(), start) for queue, due, start in rows if start >= due]
