"""A backend for Django's own Tasks, with each of them a safe task: ``TASKS["default"]["BACKEND"]``."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from django.core import checks

from django_task_safety import signals
from django_task_safety.backends import results, safe_tasks
from django_task_safety.backends.api import BaseTaskBackend, TaskResultDoesNotExist, base
from django_task_safety.backends.api import signals as task_signals
from django_task_safety.errors import TaskSafetyError
from django_task_safety.models import Operation

__all__ = ["SafeTaskBackend"]

#: The highest of Celery's priorities; RabbitMQ's queues take the higher ones first, Redis the lower ones.
_HIGHEST = 9
_LOWER_FIRST = ("redis", "rediss", "sentinel")


class SafeTaskBackend(BaseTaskBackend):
    """Runs Django's tasks in ordinary Celery workers, with all the guarantees of a safe task.

    ``OPTIONS``: options of `safe_task` or `idempotent_task` for all tasks, and under ``"tasks"`` for each by its path,
    ``{"orders.tasks.charge": {"key": "order_id"}}``. The queue "default" is Celery's default queue.
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True
    #: For those that cannot import this: a call of its tasks is an operation.
    makes_safe_tasks = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        self._options = {name: value for name, value in self.options.items() if name != "tasks"}
        self._of_tasks: Mapping[str, Mapping[str, Any]] = self.options.get("tasks", {})
        hear_ends()

    def validate_task(self, task: Any) -> None:
        """Refuse what cannot run, and note the task for the worker.

        Raises:
            InvalidTask: As Django's own backends do.
        """
        super().validate_task(task)
        safe_tasks.declare(task, {**self._options, **self._of_tasks.get(task.module_path, {})})

    def enqueue(self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Enqueue in the caller's transaction, and return a ``TaskResult`` whose id is the operation's.

        Raises:
            TaskSafetyError: One of its kinds for whatever is wrong with the call. Nothing was written.
        """
        self.validate_task(task)
        safe: Any = safe_tasks.safe_task_of(task)
        handle = safe.apply_async(args, kwargs, **_addressed(safe, task))
        ran = safe.app.conf.task_always_eager
        if safe.idempotent or ran:  # another call may answer for it
            result = results.result_of(task, _operation(handle.id))
        else:
            result = results.asked_for(task, handle.id, args, kwargs)
        if not ran:
            task_signals.task_enqueued.send(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> Any:
        """Return the result of an operation that is one of Django's tasks.

        Raises:
            TaskResultDoesNotExist: If there is none of that id.
        """
        operation = _operation(result_id)
        task = safe_tasks.declared(operation.task)
        if task is None:
            raise TaskResultDoesNotExist(result_id)
        return results.result_of(task, operation)

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        """Say what is wrong with the options of the tasks that are known."""
        found: list[checks.CheckMessage] = []
        for name in self._of_tasks:
            task = safe_tasks.declared(name)
            try:
                if task is not None:
                    safe_tasks.safe_task_of(task)
            except TaskSafetyError as exc:
                hint = f'Correct TASKS["{self.alias}"]["OPTIONS"]["tasks"]["{name}"].'
                found.append(checks.Error(str(exc), hint=hint, id="task_safety.E020"))
        return found


def _operation(result_id: str) -> Operation:
    try:
        operation: Operation = Operation.all_rows.get(pk=uuid.UUID(str(result_id)))
    except (ValueError, Operation.DoesNotExist) as exc:
        raise TaskResultDoesNotExist(result_id) from exc
    return operation


def _addressed(safe: Any, task: Any) -> dict[str, Any]:
    """Return Celery's options for where, when and how soon a task is to run."""
    options: dict[str, Any] = {}
    if task.run_after is not None:
        options["eta"] = task.run_after
    if task.queue_name != base.DEFAULT_TASK_QUEUE_NAME:
        options["queue"] = task.queue_name
    if task.priority != base.DEFAULT_TASK_PRIORITY:
        share = (task.priority - base.TASK_MIN_PRIORITY) / (base.TASK_MAX_PRIORITY - base.TASK_MIN_PRIORITY)
        scheme = str(safe.app.conf.broker_url or "").partition(":")[0]
        options["priority"] = round(_HIGHEST * (1 - share if scheme in _LOWER_FIRST else share))
    return options


def hear_ends() -> None:
    """Send Django's signal where an operation of a Django task ends, from now on; once, however often it is called."""
    for signal in (signals.operation_succeeded, signals.operation_failed, signals.operation_cancelled):
        signal.connect(_on_end, dispatch_uid=__name__)


def _on_end(operation: Operation, **kwargs: Any) -> None:
    if (task := safe_tasks.declared(operation.task)) is not None:
        results.finished(task, operation)
