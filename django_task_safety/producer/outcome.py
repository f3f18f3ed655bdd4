"""Answer a message from an operation that has ended, without running anything."""

import contextlib
import dataclasses
import traceback
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from celery import Celery, current_app, states
from celery.exceptions import Ignore, TaskPredicate, TaskRevokedError

from django_task_safety.errors import InvalidPayload, OperationFailed
from django_task_safety.ledger import Failure, schedule, table
from django_task_safety.options import TaskOptions
from django_task_safety.producer import canvas
from django_task_safety.record import AbstractOperation, State
from django_task_safety.registry import task_of
from django_task_safety.values import codec, masking

#: Seconds for which an attempt may be telling callbacks, chain and chord how its operation ended.
IN_DELIVERY = 5.0
_NOTIFIED = (State.SUCCEEDED, State.FAILED)


@dataclasses.dataclass(frozen=True, slots=True)
class StoredOutcome:
    """An outcome that was stored: a return value, or the exception with which the operation failed."""

    value: Any = None
    exc: BaseException | None = None

    def get(self) -> Any:
        """Return the value, or raise the exception."""
        if self.exc is not None:
            raise self.exc
        return self.value


def result_of(operation: AbstractOperation, app: Celery | None = None) -> Any:
    """Return the return value of the successful attempt; None in any other state. Raises `InvalidPayload` if the stored
    text cannot be read any more."""
    if operation.state != State.SUCCEEDED or not operation.result_payload:
        return None
    if app is None and operation.result_payload.startswith("!"):
        # Not JSON: the app of its task says what to trust.
        task = task_of(operation)
        app = task.app if task is not None else current_app
    return codec.loads(operation.result_payload, app, results=True)


def stored_outcome(task: TaskOptions, operation: AbstractOperation) -> StoredOutcome:
    """Return the stored outcome. Raises `Ignore` when it was cancelled; the result backend, and a chord, hear of it as
    a revoked task."""
    canvas.speaks_for(task, operation)
    if operation.state == State.SUCCEEDED:
        return StoredOutcome(result_of(operation, task.app))
    if operation.state == State.CANCELLED:
        revoke(task, operation)
        raise Ignore(f"Cancelled: {operation.error}")
    return StoredOutcome(exc=exception_of(task, operation))


def revoke(task: TaskOptions, operation: AbstractOperation) -> None:
    """Tell the result backend, and a chord that counts on it, that the operation was cancelled."""
    request = task.request
    if request.is_eager:
        return
    state, exc = as_celery(task, operation)
    # As a failure with another state, which tells a chord further down the chain as well; mark_as_revoked does not.
    task.backend.mark_as_failure(
        str(request.id), exc, request=request, store_result=not task.ignore_result, call_errbacks=False, state=state
    )
    if canvas.has_canvas(request) or operation.__dict__.get("delivered") is False:
        note_delivered([operation])


def in_delivery(operation: AbstractOperation, now: datetime) -> float:
    """Return for how many seconds those who wait are still left to the attempt that ended the operation, and tells
    them; 0.0 where they were told, or nobody seems to tell them."""
    if operation.delivered or operation.state not in _NOTIFIED or operation.ended_at is None:
        return 0.0
    return max(0.0, IN_DELIVERY - (now - operation.ended_at).total_seconds())


def store_failure(task: TaskOptions, operation: AbstractOperation) -> None:
    """Tell the result backend once more, and nobody else, how the operation failed."""
    if not task.request.is_eager and not task.ignore_result:
        task.backend.store_result(
            str(task.request.id), exception_of(task, operation), states.FAILURE, request=task.request
        )


def as_celery(task: TaskOptions, operation: AbstractOperation) -> tuple[str, Any]:
    """Return the state and the result of an ended operation as Celery's result backends keep them. Raises
    `InvalidPayload` if the stored result cannot be read any more."""
    if operation.state == State.CANCELLED:
        return states.REVOKED, TaskRevokedError(operation.error or "cancelled")
    if operation.state == State.FAILED:
        return states.FAILURE, exception_of(task, operation)
    return states.SUCCESS, result_of(operation, task.app)


def note_delivered(ended: Sequence[AbstractOperation]) -> int:
    """Note that those who wait were told how operations ended, unless these were asked for again, or somebody else has
    locked them; return of how many.

    For what nobody calls back after: cancelled tasks are ignored. A chord hears of it at least once.
    """
    noted = 0
    for revision in {operation.revision for operation in ended}:
        same = [operation.pk for operation in ended if operation.revision == revision]
        rows = table.by_id(*same).filter(revision=revision, delivered=False)
        noted += schedule.reschedule_free(rows.exclude(state__in=AbstractOperation.PENDING), delivered=True)
    return noted


def dump_result(task: TaskOptions, value: Any) -> str:
    """Return the result as text; what cannot be stored is dropped where the task ignores its result. Raises
    `InvalidPayload` if the result cannot be serialised."""
    try:
        backend: Any = task.backend
        # As it is kept: a result handle, for one, as the ids that it is made of.
        return codec.dumps(backend.prepare_value(value), backend.serializer)
    except InvalidPayload:
        if vars(task.request).get("ignore_result", task.ignore_result):
            return "null"
        raise


def dump_exception(task: TaskOptions, exc: BaseException) -> str:
    """Return an exception as text, in the form in which Celery's result backends keep it; empty where there is none, or
    it is too long."""
    try:
        prepared = task.backend.prepare_exception(exc, serializer="json")  # type: ignore[arg-type]
        text = codec.dumps(masking.mask_all(prepared), "json")
    except Exception:
        return ""
    return text if len(text) <= codec.LONGEST_TEXT else ""


def exception_of(task: TaskOptions, operation: AbstractOperation) -> BaseException:
    """Return the exception with which the operation failed."""
    if operation.exception:
        with contextlib.suppress(Exception):
            restored = task.backend.exception_to_python(codec.loads(operation.exception))
            # Raised once more, Celery would take a Reject for itself.
            if isinstance(restored, Exception) and not isinstance(restored, TaskPredicate):
                return restored
    return OperationFailed(operation.error or "It failed", operation)


def failure_of(task: TaskOptions, exc: BaseException) -> Failure:
    """Return what is stored of the exception with which an operation failed."""
    try:
        text = "".join(traceback.format_exception(exc))
    except Exception:  # the exception's own __str__ failed
        text = "".join(traceback.format_tb(exc.__traceback__))
    return Failure(codec.describe(exc), codec.printable(text, codec.LONGEST_TEXT), dump_exception(task, exc))
