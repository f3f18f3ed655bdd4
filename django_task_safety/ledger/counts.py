"""How much waits, and runs, in each queue. Counts that stop: none of these statements reads the whole table."""

import dataclasses
from datetime import datetime
from typing import Any

from django.db.models import Count, QuerySet

from django_task_safety.conf import conf
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


def number(found: QuerySet[Any], state: str, limit: int) -> int:
    """Return how many there are of a state, at most ``limit``."""
    # The order is that of the index of what has not succeeded. Those that have are most of the table.
    order = () if state == State.SUCCEEDED else ("created_at", "id")
    return found.filter(state=state).order_by(*order)[:limit].count()


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


#: Of something that was started: its queue, the seconds from due to start, and the start.
Start = tuple[str, float, datetime]


def starts_of_running(since: datetime, limit: int) -> list[Start]:
    """Return the starts ``since`` then of what runs: the index that says when rows are due finds the end of a lease."""
    running = operations().filter(state=State.RUNNING, due_at__gt=Now(), due_at__lte=After(conf().LEASE))
    return _starts(running.filter(started_at__gt=since).order_by("-due_at"), since, limit)


def starts_of_ended(since: datetime, seconds: float, kept: float | None, limit: int) -> list[Start]:
    """Return the starts ``since`` then, ``seconds`` ago, of what ended last: the same index finds the end of retention.

    Args:
        kept: The retention in seconds; None for ever: those are looked for among the newest.
    """
    ended = operations().exclude(state__in=AbstractOperation.PENDING)
    if kept is None:
        return _starts(ended.order_by("-created_at", "-id"), since, limit)
    lately = ended.filter(due_at__gt=After(kept - seconds), due_at__lte=After(kept), started_at__gt=since)
    return _starts(lately.order_by("-due_at"), since, limit)


def _starts(found: QuerySet[Any], since: datetime, limit: int) -> list[Start]:
    rows = found.values_list("queue", "available_at", "started_at")[:limit]
    # What became available after it was started are newer arguments.
    return [(queue, (at - due).total_seconds(), at) for queue, due, at in rows if at and at > since and at >= due]
