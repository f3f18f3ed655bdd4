"""Result handles that ask the operation's row.

For work under an id that had an outcome before: Celery's result backend may hold that one until a worker takes the
rerun, and may have forgotten the one that a duplicate repeats.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from celery import Celery, states
from celery.backends.base import BaseBackend
from celery.result import AsyncResult

from django_task_safety.errors import InvalidPayload
from django_task_safety.ids import message_id
from django_task_safety.ledger import table
from django_task_safety.options import TaskOptions
from django_task_safety.producer.outcome import as_celery
from django_task_safety.producer.result_handle import OperationResult
from django_task_safety.record import AbstractOperation, State
from django_task_safety.registry import task_of


def handle(task: TaskOptions, task_id: str) -> AsyncResult[Any]:
    """Return a handle that never answers with the outcome of an earlier run; making it asks nobody."""
    return OperationResult(task_id, backend=_row_backend(task.app), app=task.app)


@lru_cache(maxsize=8)
def _row_backend(app: Celery) -> RowBackend:
    # Celery takes milliseconds to make a backend; this one keeps nothing.
    return RowBackend(app=app)


class RowBackend(BaseBackend):
    """Celery's interface to results: the row's outcome; before that, what the real backend says of a running task."""

    app: Celery

    def get_task_meta(self, task_id: str, cache: bool = True) -> dict[str, Any]:
        """Return what is known of a task, as any of Celery's backends does."""
        operation = table.find(pk=message_id(task_id))
        task = task_of(operation) if operation is not None else None
        real: Any = task.backend if task is not None else self.app.backend
        if operation is None or task is None or (operation.replaced and operation.waits_for is None):
            return dict(real.get_task_meta(task_id))  # the row is gone, or its replacement answers for it
        if operation.is_pending:
            meta = real.get_task_meta(task_id)
            return meta if meta["status"] not in {*states.READY_STATES, states.PENDING} else _so_far(operation)
        try:
            status, result = as_celery(task, operation)
        except InvalidPayload:
            return dict(real.get_task_meta(task_id))
        return {"status": status, "result": result, "traceback": operation.traceback or None, "task_id": task_id}

    def wait_for_pending(self, result: Any, on_message: Any = None, **options: Any) -> Any:  # type: ignore[override]
        """Wait by asking again and again; of messages from the real backend there are none to tell."""
        return super().wait_for_pending(result, **options)

    def forget(self, task_id: str) -> None:
        """Forget the result where it is kept."""
        self.app.backend.forget(task_id)


def _so_far(operation: AbstractOperation) -> dict[str, Any]:
    """Return what the row says of a task that has not ended, where the real backend says nothing."""
    if operation.state != State.RUNNING or operation.progress is None:
        return {"status": states.PENDING, "result": None}
    said = {"message": operation.progress_message} if operation.progress_message else {}
    return {"status": "PROGRESS", "result": {"current": operation.progress, "total": 1, **said}}
