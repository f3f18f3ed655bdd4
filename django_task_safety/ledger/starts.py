"""What was started of late: whether queues move, and how far they have come."""

from collections.abc import Collection
from datetime import datetime, timedelta

from django.db.models import F, Max, Q

from django_task_safety.conf import conf
from django_task_safety.ledger import table
from django_task_safety.record import AbstractOperation, State
from django_task_safety.values.clock import After, Now


def newest_started(tasks: Collection[str], seconds: float, retention: timedelta | None) -> dict[str, datetime]:
    """Return when the newest operation became available of those that run, or were started in the last ``seconds``, for
    each of the tasks that have one.

    The index that says when rows are due finds the running ones by the end of their lease; and those that ended of late
    by the end of their retention, which is that of their task.
    """
    found = Q(state=State.RUNNING, due_at__gt=Now(), due_at__lte=After(conf().LEASE))
    if retention is not None:
        kept = retention.total_seconds()
        ended = Q(due_at__gt=After(kept - seconds), due_at__lte=After(kept), started_at__gt=After(-seconds))
        found |= ended & ~Q(state__in=AbstractOperation.PENDING)
    # What became available after it was started are newer arguments.
    started = table.rows().filter(found, task__in=tasks, started_at__gte=F("available_at"))
    return dict(started.order_by().values_list("task").annotate(Max("available_at")))
