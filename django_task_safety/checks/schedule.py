"""Checks of beat's schedule: what runs twice, once only, or never."""

import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, NamedTuple

from celery import Celery
from celery.schedules import crontab, maybe_schedule, schedule
from django.apps import apps as django_apps

from django_task_safety.checks.findings import CannotTell, Finding, about, named, warning
from django_task_safety.checks.project import Project
from django_task_safety.errors import did_you_mean
from django_task_safety.options import TaskOptions

_DAY = 24 * 60
_PERSISTENT = "celery.beat:PersistentScheduler"


class Entry(NamedTuple):
    """One line of an app's ``beat_schedule``."""

    app: Celery
    name: str
    task: str
    schedule: Any

    @property
    def safe_task(self) -> TaskOptions | None:
        """The task, where it is a safe one."""
        task = self.app.tasks.get(self.task)
        return task if isinstance(task, TaskOptions) else None


def _entries(project: Project) -> Iterator[Entry]:
    for app in project.apps:
        for name, one in (app.conf.beat_schedule or {}).items():
            yield Entry(app, str(name), str(one["task"]), maybe_schedule(one["schedule"], app=app))


@about("task_safety.W048")
def check_schedulers(project: Project) -> Iterator[Finding]:
    """One schedule is in force."""
    own = [app for app in project.apps if app.conf.beat_schedule and app.conf.beat_scheduler == _PERSISTENT]
    if own and django_apps.is_installed("django_celery_beat"):
        yield warning(
            "There are two schedules: beat_schedule, and that of django-celery-beat. Which one is in force depends on "
            "how beat is started, and two beats may run both.",
            "Set beat_scheduler to 'django_celery_beat.schedulers:DatabaseScheduler', or take the one out.",
            "task_safety.W048",
        )


@about("task_safety.W049", "task_safety.W050")
def check_periods(project: Project) -> Iterator[Finding]:
    """A scheduled task runs once in each period, not twice, and not once for ever."""
    twice, once, unknown = set(), set(), set()
    for entry in _entries(project):
        task = entry.safe_task
        if task is None or task.period is not None:
            continue
        if task.idempotent and callable(task.key):
            unknown.add(task.name)
        elif task.idempotent and task.rerun != "always":
            once.add(task.name)
        else:
            twice.add(task.name)
    if twice:
        yield warning(
            f"{named(twice)}: in beat_schedule, but without a period. Two schedulers, or one that is started again at "
            "the wrong moment, run it twice.",
            "Make it @idempotent_task(period=timedelta(…)).",
            "task_safety.W049",
        )
    if once:
        yield warning(
            f"{named(once)}: in beat_schedule, which calls with the same arguments each time, and idempotent without a "
            "period: after one success nothing more runs for as long as that is kept.",
            "Give it period=timedelta(…), the time between two runs.",
            "task_safety.W050",
        )
    if unknown:
        yield CannotTell(("task_safety.W049", "task_safety.W050"), f"{named(unknown)}: what the key is of each time")


@about("task_safety.W051")
def check_intervals(project: Project) -> Iterator[Finding]:
    """No period swallows runs that the schedule has in it."""
    for entry in _entries(project):
        task, gap = entry.safe_task, _gap(entry.schedule)
        if task is not None and task.period is not None and gap is not None and task.period > gap:
            yield warning(
                f"Task {task.name} is scheduled every {gap} by {entry.name!r}, but runs once in its period of "
                f"{task.period}: the calls between answer with the first one's outcome.",
                "Let the period be the time between two runs.",
                "task_safety.W051",
            )


def _is(when: Any, kind: type[Any]) -> bool:
    return isinstance(when, kind)  # without a type checker, which knows no attributes of these


def _gap(when: Any) -> timedelta | None:
    """Return the shortest time between two runs, None if it cannot be known."""
    if not _is(when, crontab):
        return when.run_every if _is(when, schedule) else None
    times = sorted(hour * 60 + minute for hour in when.hour for minute in when.minute)
    every_day = (len(when.day_of_week), len(when.day_of_month), len(when.month_of_year)) == (7, 31, 12)
    following = [*times[1:], *([times[0] + _DAY] if every_day else [])]
    gaps = [later - earlier for earlier, later in zip(times, following, strict=False)]
    return timedelta(minutes=min(gaps)) if gaps else None


@about("task_safety.W052")
def check_tasks(project: Project) -> Iterator[Finding]:
    """Beat calls tasks that there are."""
    for entry in _entries(project):
        if entry.task in entry.app.tasks:
            continue
        near, module = did_you_mean(entry.task, entry.app.tasks, 0.9), entry.task.rpartition(".")[0]
        if near or (module in sys.modules and not project.not_imported):
            yield warning(
                f"beat_schedule calls {entry.task!r} ({entry.name!r}), and no task has that name.{near}",
                "Correct the name: it is that of the task, module included.",
                "task_safety.W052",
            )
        else:
            why = f"whether a worker has the task {entry.task!r}, which beat_schedule calls: this process has not"
            yield CannotTell(("task_safety.W052",), why)


@about("task_safety.W053")
def check_crontabs(project: Project) -> Iterator[Finding]:
    """What is scheduled at an hour runs once in it."""
    for entry in _entries(project):
        when = entry.schedule
        if _is(when, crontab) and len(when.minute) == 60 and len(when.hour) <= 2:
            yield warning(
                f"{entry.name!r} in beat_schedule says an hour, but no minute: it runs each minute of that hour.",
                "Add minute=0 to the crontab.",
                "task_safety.W053",
            )


@about("task_safety.W049", "task_safety.W050", "task_safety.W051", "task_safety.W052", "task_safety.W053")
def check_stored(project: Project) -> Iterator[Finding]:
    """A schedule that is kept in the database cannot be seen in the settings (with ``--deploy``)."""
    if django_apps.is_installed("django_celery_beat"):
        ids = tuple(f"task_safety.W{number:03}" for number in range(49, 54))
        yield CannotTell(ids, "what django-celery-beat's tables schedule")
