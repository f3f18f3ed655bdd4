"""The project as the checks see it, read once for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

from celery import Celery, Task
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_task_safety.checks.source import Body
from django_task_safety.conf import Conf
from django_task_safety.options import TaskOptions
from django_task_safety.registry import apps, import_tasks, safe_tasks

#: What a project cannot change is not for it to hear of.
_CELERYS, _OURS = "celery.", "django_task_safety."


class PlainTask(NamedTuple):
    """A task of the project that is none of ours, in one of its apps."""

    app: Celery
    task: Task[Any, Any]


class SafeTask(NamedTuple):
    """A safe task in one of the project's apps; shared ones are in each."""

    app: Celery
    task: TaskOptions


class Project:
    """A project's Celery apps, tasks and databases.

    Its tasks' modules are imported, as a worker does.

    Args:
        conf: The valid settings.
    """

    def __init__(self, conf: Conf) -> None:
        self.conf = conf
        #: Why not all modules with tasks could be imported, "" if they could.
        self.not_imported = ""
        try:
            import_tasks()
        except Exception as exc:  # whatever a module may raise
            self.not_imported = f"{type(exc).__name__}: {exc}"

    @cached_property
    def apps(self) -> list[Celery]:
        """The current app, and those that have safe tasks."""
        return apps()

    @cached_property
    def safe_tasks(self) -> list[TaskOptions]:
        """The safe tasks, of each name the first, without our own and Celery's, which ``task_cls`` makes safe."""
        return [task for task in safe_tasks() if not task.name.startswith((_CELERYS, _OURS))]

    @cached_property
    def safe_in_apps(self) -> list[SafeTask]:
        """The safe tasks of each app."""
        return [SafeTask(app, task) for app, task in self._tasks() if isinstance(task, TaskOptions)]

    @cached_property
    def plain_tasks(self) -> list[PlainTask]:
        """The other tasks of each app."""
        return [PlainTask(app, task) for app, task in self._tasks() if not isinstance(task, TaskOptions)]

    @cached_property
    def atomic_bodies(self) -> list[Body]:
        """The functions of the safe tasks that run in a transaction."""
        return [Body(task) for task in self.safe_tasks if task.atomic]

    @cached_property
    def database(self) -> BaseDatabaseWrapper:
        """The connection, which need not be open, to the operations' database."""
        return connections[self.conf.DATABASE]

    def _tasks(self) -> Iterator[tuple[Celery, Any]]:
        every = ((app, name, task) for app in self.apps for name, task in sorted(app.tasks.items()))
        return ((app, task) for app, name, task in every if not name.startswith((_CELERYS, _OURS)))
