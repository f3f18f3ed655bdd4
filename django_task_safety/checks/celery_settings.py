"""Checks of Celery's settings: unknown names, and values that void or hinder what safe tasks promise."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from celery import Celery
from celery.app.defaults import _TO_NEW_KEY, DEFAULTS  # type: ignore[attr-defined]  # there is no public list
from celery.exceptions import QueueNotFound
from django.conf import settings
from kombu.serialization import registry  # type: ignore[attr-defined]

from django_task_safety.checks.findings import Finding, about, error, named, warning
from django_task_safety.checks.project import Project
from django_task_safety.errors import did_you_mean

_PICKLE = "application/x-python-serialize"
#: An unknown name this near to a known one is taken for a slip rather than for a setting of the project's own.
_NEAR = 0.92
#: Backends that keep nothing, or nothing for long.
_FORGETFUL = ("disabled", "rpc", "cache+memory", "amqp")


@about("task_safety.W027")
def check_names(project: Project) -> Iterator[Finding]:
    """Celery knows its settings by the names that they were given."""
    for app in project.apps:
        prefix = f"{_namespace(app)}_" if _namespace(app) else ""
        given = {name for name in dir(settings) if prefix and name.startswith(prefix)} | set(app.conf.changes or ())
        known = {f"{prefix}{name}".upper(): f"{prefix}{name}".upper() for name in DEFAULTS}
        known |= {name: name for name in (*DEFAULTS, *_TO_NEW_KEY)}
        for name in sorted(given - known.keys()):
            near = did_you_mean(name, known, _NEAR)
            if near:
                yield warning(
                    f"Celery has no setting {name}, and ignores it.{near}",
                    "Correct the name, or call a setting of your own something else.",
                    "task_safety.W027",
                )


def _namespace(app: Celery) -> str:
    return getattr(app, "namespace", None) or ""


@about("task_safety.W028")
def check_eager(project: Project) -> Iterator[Finding]:
    """Tasks run in workers (with ``--deploy``)."""
    if any(app.conf.task_always_eager for app in project.apps):
        yield warning(
            "task_always_eager is on: tasks run inside the request and its transaction, and no worker has any.",
            "Set it in the settings of your tests only.",
            "task_safety.W028",
        )


@about("task_safety.W029")
def check_pickle(project: Project) -> Iterator[Finding]:
    """Who can write to the broker cannot run code in a worker."""
    for app in project.apps:
        names = [
            setting
            for setting in ("accept_content", "result_accept_content", "task_serializer", "result_serializer")
            if _PICKLE in _types(app.conf[setting])
        ]
        if names:
            yield warning(
                f"Pickle is allowed by {', '.join(names)}: who can write to the broker or the result backend can run "
                "any code in a worker.",
                "Leave these settings at JSON, their default. Safe tasks take model instances without pickle.",
                "task_safety.W029",
            )


@about("task_safety.E008")
def check_serializer(project: Project) -> Iterator[Finding]:
    """Workers accept what callers send."""
    refused: dict[str, set[str]] = defaultdict(set)
    for app, task in (*project.safe_in_apps, *project.plain_tasks):
        if not _types(task.serializer) <= _types(app.conf.accept_content):
            refused[str(task.serializer)].add(task.name)
    for serializer, names in refused.items():
        yield error(
            f"{named(names)}: messages are written as {serializer!r}, which is not in accept_content: every worker "
            "refuses them.",
            "Add it to accept_content, or take JSON.",
            "task_safety.E008",
        )


def _types(serializers: Any) -> set[str]:
    """Return the content types of serializers, or the name of one that nobody registered."""
    several = [serializers] if isinstance(serializers, str) else serializers or ()
    return {registry.name_to_type.get(name, name) for name in several}


@about("task_safety.W030")
def check_expiry(project: Project) -> Iterator[Finding]:
    """Results go away some day."""
    for app in project.apps:
        backend, expires = str(app.conf.result_backend or ""), app.conf.result_expires
        kept = backend and not backend.startswith(_FORGETFUL) and not app.conf.task_ignore_result
        if kept and expires in (None, 0, timedelta(0)):
            yield warning(
                f"result_expires is {expires!r}: the result backend keeps every result for ever.",
                "Set it to some days. An operation keeps its own result for RETENTION.",
                "task_safety.W030",
            )


@about("task_safety.W031")
def check_connection_loss(project: Project) -> Iterator[Finding]:
    """A broker that goes away for a moment does not end what runs."""
    late = {app for app, task in project.plain_tasks if task.acks_late}
    for app in project.apps:
        if app.conf.worker_cancel_long_running_tasks_on_connection_loss and app not in late:
            yield warning(
                "worker_cancel_long_running_tasks_on_connection_loss is on: each time that the broker is lost, what "
                "runs is killed, and safe tasks have one attempt less.",
                "Leave it off: a safe task needs no broker to end, and its outcome is in its row.",
                "task_safety.W031",
            )


@about("task_safety.W032")
def check_start(project: Project) -> Iterator[Finding]:
    """A worker that starts while the broker is down waits for it."""
    for app in project.apps:
        retries = app.conf.broker_connection_retry_on_startup
        if not (app.conf.broker_connection_retry if retries is None else retries):
            yield warning(
                "A worker that starts while the broker is down ends at once (broker_connection_retry_on_startup), and "
                "nobody sweeps.",
                "Set broker_connection_retry_on_startup to True. Silence this where something starts it again.",
                "task_safety.W032",
            )


@about("task_safety.W033")
def check_app(project: Project) -> Iterator[Finding]:
    """This process knows the project's Celery app, and so its broker."""
    (current, *_) = project.apps
    if project.safe_tasks and current.main == "default" and not _namespace(current):
        yield warning(
            "The project's Celery app is not known to this process, which publishes to Celery's default, RabbitMQ on "
            "this machine.",
            "Import the app in the project's __init__.py, as Celery's first steps with Django have it.",
            "task_safety.W033",
        )


@about("task_safety.E009")
def check_queues(project: Project) -> Iterator[Finding]:
    """Each task is sent to a queue that there is."""
    lost: dict[str, set[str]] = defaultdict(set)
    for app, task in (*project.safe_in_apps, *project.plain_tasks):
        if not app.conf.task_create_missing_queues:
            router: Any = app.amqp.router
            queue = getattr(task, "queue", None)
            try:
                router.route({"queue": queue} if queue else {}, task.name, task_type=task)
            except QueueNotFound as exc:
                lost[str(exc)].add(task.name)
    for problem, names in lost.items():
        yield error(
            f"{named(names)}: calls cannot be published, for task_create_missing_queues is off: {problem}",
            "Add the queue to task_queues, or correct its name.",
            "task_safety.E009",
        )


@about("task_safety.W034")
def check_limits(project: Project) -> Iterator[Finding]:
    """A plain task hears of its time limit before it is killed."""
    for app in project.apps:
        soft, hard = app.conf.task_soft_time_limit, app.conf.task_time_limit
        if soft is not None and hard is not None and soft >= hard:
            yield warning(
                f"task_soft_time_limit ({soft:g} s) is not below task_time_limit ({hard:g} s): tasks are killed before "
                "they are told.",
                "Let the soft limit be the shorter one.",
                "task_safety.W034",
            )
