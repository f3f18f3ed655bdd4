"""Checks of tasks' options: what voids a promise of safe tasks, and what does nothing, or harm, in plain ones."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from celery import Task

from django_task_safety.checks.findings import Finding, about, named, warning
from django_task_safety.checks.project import Project
from django_task_safety.errors import did_you_mean
from django_task_safety.options import IDEMPOTENT_OPTIONS, SAFE_OPTIONS
from django_task_safety.options.validation import CELERY_OPTIONS

#: An unknown option this near to a known one is a slip, rather than an attribute of the project's own.
_NEAR = 0.8
_BACKOFF = ("retry_backoff", "retry_backoff_max", "retry_jitter")


@about("task_safety.W041")
def check_time_limits(project: Project) -> Iterator[Finding]:
    """Each safe task has a time limit: what hangs is ended some day."""
    endless = {task.name for app, task in project.safe_in_apps if not (task.time_limit or app.conf.task_time_limit)}
    if endless:
        yield warning(
            f"{named(endless)}: no time limit. One that hangs runs for ever, and its lease is renewed as long.",
            "Give it a time_limit, or let TASK_SAFETY['TIME_LIMIT'] be a number again.",
            "task_safety.W041",
        )


@about("task_safety.W042")
def check_attempts(project: Project) -> Iterator[Finding]:
    """Attempts are counted: what fails or kills its worker each time ends."""
    endless = {task.name for task in project.safe_tasks if task.max_retries is None}
    if endless:
        yield warning(
            f"{named(endless)}: max_retries=None. What fails each time, or kills its worker, is tried for ever.",
            "Give it a number, however large.",
            "task_safety.W042",
        )


@about("task_safety.W043")
def check_names(project: Project) -> Iterator[Finding]:
    """Celery knows the options of plain tasks by the names that they were given."""
    for _, task in project.plain_tasks:
        base = type(task).__mro__[1]
        known = {name for name in dir(Task) if not name.startswith("_")} | CELERY_OPTIONS
        for name in vars(type(task)):
            if name.startswith("_") or name in known or hasattr(base, name):
                continue
            bare = name.removeprefix("task_")
            near = f" Did you mean {bare!r}?" if bare != name and bare in known else did_you_mean(name, known, _NEAR)
            ours = name in (*SAFE_OPTIONS, *IDEMPOTENT_OPTIONS)
            if near or ours:
                yield warning(
                    f"Plain task {task.name} has the option {name}, which Celery does not know, and ignores.{near}",
                    "Use @safe_task or @idempotent_task for it." if ours else "Correct the name.",
                    "task_safety.W043",
                )


@about("task_safety.W044", "task_safety.W045")
def check_lost_workers(project: Project) -> Iterator[Finding]:
    """What a plain task says of lost workers has an effect, and an end."""
    found: dict[bool, set[str]] = defaultdict(set)
    for _, task in project.plain_tasks:
        if task.reject_on_worker_lost:
            found[bool(task.acks_late)].add(task.name)
    if found[False]:
        yield warning(
            f"{named(found[False], 'Plain task')}: reject_on_worker_lost does nothing without acks_late, for the "
            "message is gone when the task begins.",
            "Add acks_late=True, or make it a safe task.",
            "task_safety.W044",
        )
    if found[True]:
        yield warning(
            f"{named(found[True], 'Plain task')}: with reject_on_worker_lost, a call that kills its worker is "
            "delivered again without end, and kills the next one.",
            "Make it a safe task, which counts lost workers as attempts.",
            "task_safety.W045",
        )


@about("task_safety.W046")
def check_retry_options(project: Project) -> Iterator[Finding]:
    """What a plain task says of its retries has an effect."""
    idle = {
        task.name
        for _, task in project.plain_tasks
        if any(name in vars(type(task)) for name in _BACKOFF) and not getattr(task, "autoretry_for", ())
    }
    if idle:
        yield warning(
            f"{named(idle, 'Plain task')}: {', '.join(_BACKOFF)} do nothing without autoretry_for; self.retry() waits "
            "for default_retry_delay.",
            "Add autoretry_for, or make it a safe task, whose every retry backs off.",
            "task_safety.W046",
        )


@about("task_safety.W047")
def check_endless_retries(project: Project) -> Iterator[Finding]:
    """A plain task that retries by itself stops doing so some day."""
    endless = {task.name for _, task in project.plain_tasks if _retries_for_ever(task)}
    if endless:
        yield warning(
            f"{named(endless, 'Plain task')}: autoretry_for with max_retries=None. What fails each time is tried for "
            "ever.",
            "Give it a number of retries, or make it a safe task.",
            "task_safety.W047",
        )


def _retries_for_ever(task: Any) -> bool:
    given = {"max_retries": task.max_retries, **(getattr(task, "retry_kwargs", None) or {})}
    return bool(getattr(task, "autoretry_for", ())) and given["max_retries"] is None
