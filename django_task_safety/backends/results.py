"""An operation as Django's Tasks see it: a ``TaskResult``, and their signals."""

import builtins
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

from celery import current_task
from django.db import models
from django.utils import timezone

from django_task_safety import errors, ids
from django_task_safety.backends.api import TaskContext, TaskError, TaskResult, TaskResultStatus, signals
from django_task_safety.context import current_operation
from django_task_safety.models import Operation
from django_task_safety.record import State
from django_task_safety.registry import task_of
from django_task_safety.values import codec, references
from django_task_safety.values.clock import as_aware, as_stored
from django_task_safety.values.references import Reference

_STATUS = {
    State.QUEUED: TaskResultStatus.READY,
    State.RUNNING: TaskResultStatus.RUNNING,
    State.SUCCEEDED: TaskResultStatus.SUCCESSFUL,
    # Django has no such state: the error says that it was cancelled.
    State.FAILED: TaskResultStatus.FAILED,
    State.CANCELLED: TaskResultStatus.FAILED,
}
_CANCELLED = f"{errors.OperationCancelled.__module__}.{errors.OperationCancelled.__qualname__}"
_TIMES = ("enqueued_at", "started_at", "last_attempted_at", "finished_at")
#: Results of the attempts that run in this process.
_running: dict[UUID, Any] = {}


def asked_for(task: Any, pk: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return the result of a task that was just enqueued."""
    return _result(task, UUID(pk), State.QUEUED, args, kwargs)


def result_of(task: Any, operation: Operation) -> Any:
    """Return the result of a task from its operation."""
    args, kwargs = _arguments(operation)
    records, attempts = operation.attempts, operation.attempt
    workers = [record.worker for record in records][-attempts:] if attempts else []
    result = _result(
        task,
        operation.pk,
        operation.state,
        args,
        kwargs,
        enqueued_at=ids.made_at(operation.pk) or operation.created_at,
        started_at=next((record.started_at for record in records if record.started_at), operation.started_at),
        last_attempted_at=operation.started_at,
        finished_at=operation.ended_at,
        errors=_errors(task, operation),
        worker_ids=[operation.worker] * (attempts - len(workers)) + workers,
    )
    object.__setattr__(result, "_return_value", operation.result)
    return result


def _arguments(operation: Operation) -> tuple[Sequence[Any], Mapping[str, Any]]:
    safe = task_of(operation)
    if safe is None:
        return (), {}
    args, kwargs = references.parse(codec.loads(operation.payload, safe.app))
    return args, kwargs


def _result(task: Any, pk: UUID, state: str, args: Sequence[Any], kwargs: Mapping[str, Any], **told: Any) -> Any:
    times = {**dict.fromkeys(_TIMES), "enqueued_at": ids.made_at(pk)}
    plain: dict[str, Any] = {**times, "errors": [], "worker_ids": []}
    named = {"id": str(pk), "status": _STATUS[State(state)], "args": _plain(list(args)), "kwargs": _plain(dict(kwargs))}
    told = {name: _as_project_has_it(value) if name in _TIMES else value for name, value in (plain | told).items()}
    return TaskResult(task=task, backend=task.backend, **named, **told)


def _as_project_has_it(moment: datetime | None) -> datetime | None:
    return moment and as_stored(as_aware(moment))


def _plain(value: Any) -> Any:
    """Return arguments as Django keeps them, which knows no objects: with their primary keys."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, models.Model | Reference):
        return str(value.pk)
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _errors(task: Any, operation: Operation) -> list[Any]:
    """Return the errors of the attempts that failed, oldest first, and why it was cancelled."""
    failed = [record for record in operation.attempts if record.error and record.outcome != "cancelled"]
    found = [TaskError(exception_class_path=_path(task, one.error), traceback=one.error) for one in failed]
    if found and operation.state == State.FAILED and operation.traceback:
        found[-1] = TaskError(exception_class_path=found[-1].exception_class_path, traceback=operation.traceback)
    if operation.state == State.CANCELLED:
        found.append(TaskError(exception_class_path=_CANCELLED, traceback=operation.error))
    return found


def _path(task: Any, error: str) -> str:
    """Return where the class of an exception is, of which its name was kept."""
    name = error.partition(":")[0]
    for module in (task.func.__module__, "django_task_safety.errors", "builtins", "django.db", "celery.exceptions"):
        found = getattr(sys.modules.get(module), name, None)
        if isinstance(found, type) and issubclass(found, BaseException):
            return f"{found.__module__}.{found.__qualname__}"
    return f"{builtins.Exception.__module__}.Exception"


@contextmanager
def running(task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Say that the task runs, and give what it is to be called with before its arguments: its context, if it takes one.

    No statement is sent for this.
    """
    operation = current_operation()
    if operation is None:
        yield ()
        return
    if operation.attempt == 1 and current_task.request.is_eager:  # enqueue() comes back when it has ended
        signals.task_enqueued.send(
            type(task.get_backend()), task_result=asked_for(task, str(operation.pk), args, kwargs)
        )
    began = operation.started_at or timezone.now()
    workers = [operation.worker] * operation.attempt
    told = {"started_at": began, "last_attempted_at": began, "worker_ids": workers}
    result = _result(task, operation.pk, State.RUNNING, args, kwargs, **told)
    _running[operation.pk] = result
    signals.task_started.send(type(task.get_backend()), task_result=result)
    try:
        yield (TaskContext(task_result=result),) if task.takes_context else ()
    except BaseException:
        _running.pop(operation.pk, None)  # where it is retried, nothing is said; where it failed, the row is read
        raise


def finished(task: Any, operation: Operation) -> None:
    """Say how a task ended, once that is committed."""
    result = _running.pop(operation.pk, None)
    if result is None or operation.state != State.SUCCEEDED:
        result = result_of(task, Operation.all_rows.get(pk=operation.pk))
    object.__setattr__(result, "_return_value", operation.result)
    object.__setattr__(result, "status", _STATUS[State(operation.state)])
    object.__setattr__(result, "finished_at", result.finished_at or timezone.now())
    signals.task_finished.send(type(task.get_backend()), task_result=result)
