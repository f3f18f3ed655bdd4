"""``task.options(requested_by=user)``: a task's calls, in the name of a user."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from celery.result import AsyncResult

from django_task_safety.context import requested_by


class OptionedTask:
    """What calls a task in the name of a user; each method is as the task's."""

    def __init__(self, task: Any, user: Any) -> None:
        self._task, self._user = task, user

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult[Any]:
        """Enqueue, and return Celery's result handle."""
        return self.apply_async(args, kwargs)

    def apply_async(self, *args: Any, **kwargs: Any) -> AsyncResult[Any]:
        """Enqueue with Celery's options, and return its result handle."""
        with requested_by(self._user):
            result: AsyncResult[Any] = self._task.apply_async(*args, **kwargs)
            return result

    def enqueue(self, *args: Any, **kwargs: Any) -> Any:
        """Enqueue and return the operation."""
        with requested_by(self._user):
            return self._task.enqueue(*args, **kwargs)

    def enqueue_many(self, calls: Iterable[Sequence[Any] | Mapping[str, Any]]) -> list[Any]:
        """Enqueue many calls in batches, in one transaction, and return their operations."""
        with requested_by(self._user):
            return list(self._task.enqueue_many(calls))
