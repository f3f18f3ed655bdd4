"""A project for the system checks to look at, with a Celery app of its own."""

from collections.abc import Callable
from typing import Any

from celery import Celery
from django.conf import settings
from django.core.checks import CheckMessage

from django_task_safety import SafeTask
from django_task_safety.checks.findings import CannotTell, Check
from django_task_safety.checks.project import Project
from django_task_safety.conf import load


class Checked:
    """Defines an app and its tasks, and asks what a check says of them."""

    def __init__(self) -> None:
        self.app = Celery("checked", set_as_current=False)
        self.app.conf.update(broker_url="memory://", broker_connection_retry_on_startup=True)
        self._tasks: dict[str, Any] = {}
        self.app.__dict__["tasks"] = self._tasks  # without those that other tests share with all apps

    def plain(self, function: Callable[..., Any], **options: Any) -> Any:
        """Make a function a plain task."""
        self.app._tasks.pop(function.__name__, None)  # another one may have been defined before
        task = self.app.task(function, shared=False, lazy=False, name=function.__name__, **options)
        self._tasks[task.name] = task
        return task

    def safe(self, function: Callable[..., Any], **options: Any) -> Any:
        """Make a function a safe task."""
        return self.plain(function, base=SafeTask, **options)

    def idempotent(self, function: Callable[..., Any], **options: Any) -> Any:
        """Make a function an idempotent task."""
        return self.safe(function, idempotent=True, **options)

    def project(self) -> Project:
        """Return it as the checks see it."""
        project = Project(load(getattr(settings, "TASK_SAFETY", {})))
        project.apps = [self.app]
        project.safe_tasks = [task for task in self._tasks.values() if isinstance(task, SafeTask)]
        return project

    def found(self, check: Check) -> list[CheckMessage | CannotTell]:
        """Return what a check finds."""
        return list(check(self.project()))

    def messages(self, check: Check) -> dict[str, str]:
        """Return the text of each message that a check finds, by the end of its id; all must have a hint."""
        found = [one for one in self.found(check) if isinstance(one, CheckMessage)]
        assert all(one.hint for one in found)
        return {_end(one.id): str(one.msg) for one in found}

    def unknown(self, check: Check) -> dict[str, str]:
        """Return what a check cannot tell, and why."""
        found = [one for one in self.found(check) if isinstance(one, CannotTell)]
        return {_end(number): one.why for one in found for number in one.ids}


def _end(number: str | None) -> str:
    return str(number).removeprefix("task_safety.")
