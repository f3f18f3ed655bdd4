"""A message that nobody claims is lost, or waits in a long queue, where a copy would only make that longer.

Queues hand out what was published first. So as long as one moves, and nothing that was published later has been
started, the message waits. Where something was, or nothing is started any more, it is taken for lost. One of the two
comes to pass, for what was published before it is finite, and each publication is started once.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from celery.utils.time import rate
from django.db.models import F

from django_task_safety.conf import conf
from django_task_safety.ledger import schedule, starts, table
from django_task_safety.options import TaskOptions
from django_task_safety.producer.call import retention
from django_task_safety.record import AbstractOperation
from django_task_safety.registry import safe_task_named, safe_task_names

#: What is lost is published again after REPUBLISH_AFTER times 1, 2, 4, … up to this.
REPUBLISH_FACTOR_MAX = 16
#: A queue has stopped when so many starts have failed to come, of the number that a ``rate_limit`` allows.
_MISSED = 3.0


def look_later(found: Sequence[AbstractOperation]) -> None:
    """Back off from what is published again: the next look at each comes after twice the time, up to a limit."""
    _look_at(found, [row.republished for row in found], republished=F("republished") + 1)


def leave_alone(found: Sequence[AbstractOperation]) -> None:
    """Look at what waits after as long a time as it has waited, up to the same limit."""
    _look_at(found, [int(_age(row) / conf().REPUBLISH_AFTER).bit_length() - 1 for row in found])


def _look_at(found: Sequence[AbstractOperation], doublings: Sequence[int], **values: Any) -> None:
    by_wait: dict[float, list[AbstractOperation]] = defaultdict(list)
    for row, times in zip(found, doublings, strict=True):
        factor = min(2 ** max(0, min(times, 10)), REPUBLISH_FACTOR_MAX)
        by_wait[conf().REPUBLISH_AFTER * factor].append(row)
    for wait, those in by_wait.items():
        schedule.reschedule(table.by_id(*(row.pk for row in those)), wait, **values)


def _age(row: AbstractOperation) -> float:
    """Return for how many seconds it has been due."""
    age: timedelta = row.__dict__["_now"] - row.available_at
    return age.total_seconds()


def waiting(queued: Sequence[AbstractOperation]) -> list[AbstractOperation]:
    """Return those of the queued rows whose messages wait in a queue that moves."""
    # What is younger waited in the database, or the broker did not take it.
    asked = [row for row in queued if _age(row) >= conf().REPUBLISH_AFTER]
    reached = _reached({row.task for row in asked})
    return [row for row in asked if row.task in reached and reached[row.task] <= row.available_at]


def _reached(names: Collection[str]) -> dict[str, datetime]:
    """Return, for each of the tasks whose queue moves, how far that has come: by what it started of the task itself, or
    else of the others in its queue."""
    tasks = [task for name in names if (task := safe_task_named(name)) is not None]
    if not tasks:
        return {}
    beside = _by_queue(tasks)
    newest = _newest_started({one.name: one for task in tasks for one in beside[task.name]}.values())
    found = {}
    for task in tasks:
        moved = [newest[one.name] for one in beside[task.name] if one.name in newest]
        if moved:
            found[task.name] = newest.get(task.name, max(moved))
    return found


def _newest_started(tasks: Collection[TaskOptions]) -> dict[str, datetime]:
    alike: dict[tuple[float, timedelta | None], list[str]] = defaultdict(list)
    for task in tasks:
        alike[_patience(task), retention(task)].append(task.name)
    newest: dict[str, datetime] = {}
    for (seconds, kept), names in alike.items():
        newest.update(starts.newest_started(names, seconds, kept))
    return newest


def _patience(task: TaskOptions) -> float:
    """Return the seconds without a start of the task after which its queue has stopped."""
    try:
        allowed = rate(task.rate_limit or "")
    except (LookupError, ValueError):
        allowed = 0  # no worker of Celery's takes it, but others of its queue go on
    return max(conf().REPUBLISH_AFTER, _MISSED / allowed if allowed else 0.0)


def _by_queue(tasks: Sequence[TaskOptions]) -> dict[str, list[TaskOptions]]:
    """Return, for each task, the tasks that share its queue, itself included."""
    known = [task for name in safe_task_names() if (task := safe_task_named(name)) is not None]
    queues = {task.name: queue_of(task) for task in known}
    return {task.name: [one for one in known if queues[one.name] == queues[task.name]] for task in tasks}


def queue_of(task: TaskOptions) -> str:
    """Return the name of the queue to which a task is sent when nobody says another one."""
    router: Any = task.app.amqp.router
    try:
        queue = router.route(dict(task._get_exec_options()), task.name, (), {})["queue"]  # type: ignore[attr-defined]
    except Exception:
        return task.name  # a project's router may want to see arguments
    return str(getattr(queue, "name", queue))
