"""Django's Tasks: those of Django 6.0 and later, or of the package django-tasks where there are none."""

from typing import Any

try:
    from django.tasks import base, exceptions, signals
    from django.tasks.backends.base import BaseTaskBackend
except ImportError:  # Django 5.2
    try:
        from django_tasks import base, exceptions, signals  # type: ignore[no-redef, import-not-found]
        from django_tasks.backends.base import BaseTaskBackend  # type: ignore[no-redef, import-not-found]
    except ImportError as exc:
        raise ImportError(
            "SafeTaskBackend needs Django's Tasks: Django 6.0 or later, or the package django-tasks."
        ) from exc

Task: Any = base.Task
TaskContext = base.TaskContext
TaskError = base.TaskError
TaskResult = base.TaskResult
TaskResultStatus = base.TaskResultStatus
TaskResultDoesNotExist = exceptions.TaskResultDoesNotExist
#: By both of its names.
InvalidTask: type[Exception] = getattr(exceptions, "InvalidTask", None) or getattr(exceptions, "InvalidTaskError")  # noqa: B009

__all__ = [
    "BaseTaskBackend",
    "InvalidTask",
    "Task",
    "TaskContext",
    "TaskError",
    "TaskResult",
    "TaskResultDoesNotExist",
    "TaskResultStatus",
    "base",
    "signals",
]
