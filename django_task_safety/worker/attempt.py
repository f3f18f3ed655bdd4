"""One attempt, from its claim to its recorded end.

    run_attempt         the attempt becomes the current one, and its lease is renewed while it runs
    _arguments          those to run with, as references to the objects
    _body_and_settle    the body and the recording of its end, in one transaction
    _settle             success, if the attempt still owns the operation and nothing newer waits
    settle_ignored      Ignore and replace(), which keep what the body wrote

Where the body's transaction is rolled back, what was raised is recorded by the table in `endings`.
"""

import contextlib
import logging
from typing import Any

from celery.exceptions import Ignore, Retry
from django.db import transaction

from django_task_safety import ledger
from django_task_safety.conf import conf
from django_task_safety.context import Attempt, running
from django_task_safety.ledger import notifications, table, worker_id
from django_task_safety.ledger.heartbeat import heartbeat
from django_task_safety.objects import triggers
from django_task_safety.options import KEEP, TaskOptions
from django_task_safety.producer import canvas, redaction
from django_task_safety.producer.call import read_arguments, subject_of
from django_task_safety.producer.outcome import dump_result
from django_task_safety.record import AbstractOperation, State
from django_task_safety.values import codec, masking, references
from django_task_safety.worker import body_transaction, result_backend
from django_task_safety.worker.endings import conclude
from django_task_safety.worker.requeue import (
    OwnershipLost,
    not_for_ever,
    note_subject,
    requeue,
    requeue_for_newer_arguments,
)

logger = logging.getLogger("django_task_safety")


def run_attempt(task: TaskOptions, operation: AbstractOperation, arguments: tuple[Any, Any] | None) -> Any:
    """Run the body of the operation that this attempt claimed, and settle it.

    Args:
        arguments: The message's args and kwargs, or None to take the row's.
    """
    attempt = begin(task, operation)
    task.request.retries = operation.attempt - 1
    canvas.speaks_for(task, operation)
    with running(attempt), heartbeat.holding(operation, renewed=worker_id.in_worker() and not task.request.is_eager):
        try:
            if operation.revision > 0 and not task.request.is_eager:
                result_backend.forget(task, operation)
            return _body_and_settle(attempt, _arguments(attempt, arguments))
        except BaseException as exc:
            return conclude(attempt, exc)


def begin(task: TaskOptions, operation: AbstractOperation) -> Attempt:
    """Return the attempt that has claimed the operation."""
    return Attempt(task, operation, operation.token, in_callers_transaction=table.connection().in_atomic_block)


def _arguments(attempt: Attempt, arguments: tuple[Any, Any] | None) -> tuple[Any, Any]:
    """Return the args and kwargs to run, as read from the message or the row, with references for the objects."""
    task, operation = attempt.task, attempt.operation
    if arguments is None:
        arguments = task.request.args, task.request.kwargs = codec.loads(operation.payload, task.app)
        # Besides the message's, until the task's postrun signal.
        masking.hide(redaction.hidden(task, *arguments))
    args, kwargs, by_key = read_arguments(task, arguments)
    # Its row does not know the object where it was queued when the parameter was none yet.
    if by_key and not operation.__dict__.get("subject_label"):
        note_subject(attempt, subject_of(task, args, kwargs))
    return args, kwargs


def _body_and_settle(attempt: Attempt, arguments: tuple[Any, Any]) -> Any:
    task = attempt.task
    with contextlib.ExitStack() as stack:
        stack.callback(triggers.end_exemption, attempt)
        _open_transaction(attempt, stack)
        # What is kept was asked for whether its object is removed or not.
        args, kwargs = references.load(arguments, removed=task.on_delete == KEEP)
        try:
            attempt.arguments = (tuple(args), kwargs)
            with body_transaction.watched(attempt):
                value = task.body(*args, **kwargs)
        except Ignore as exc:
            # Ignore and replace() keep what the body wrote.
            if attempt.replaced and task.request.is_eager:
                _settle(attempt, attempt.eager_value)
                return attempt.eager_value
            settle_ignored(attempt, exc)
            leave: Ignore | Retry = exc
        else:
            if attempt.retry is None:
                _settle(attempt, value)
                return value
            with not_for_ever():
                requeue(attempt, attempt.retry)
            attempt.requeued_with_body = True
            leave = attempt.retry.signal
    raise leave


def _open_transaction(attempt: Attempt, stack: contextlib.ExitStack) -> None:
    """Open the transaction of the body and its settling, unless the task does without."""
    if not attempt.task.atomic:
        return
    # Invariant: effects and outcome commit together.
    stack.enter_context(transaction.atomic(using=conf().DATABASE))


@not_for_ever()
def _settle(attempt: Attempt, value: Any) -> None:
    task, operation = attempt.task, attempt.operation
    if ledger.settle(operation, dump_result(task, value)):
        return
    # Somebody asked for newer work meanwhile: this run counts, and the row is queued once more.
    counts = {} if operation.version is None else {"succeeded_version": operation.version}
    if not requeue_for_newer_arguments(task, operation, **counts):
        raise OwnershipLost
    canvas.leave_to_newer(task)


@not_for_ever()
def settle_ignored(attempt: Attempt, exc: Ignore) -> None:
    """Record that the attempt ends as cancelled, or goes on as its replacement, which keep what the body wrote."""
    operation = attempt.operation
    if attempt.replacement is not None:
        done, name = ledger.requeue(operation, 0.0, attempt.replacement, name="enqueued", newest=True), ""
    elif attempt.replaced:
        values: dict[str, Any] = {"result_payload": "null", "progress": 1.0, "delivered": True}
        done = ledger.finish(operation, State.SUCCEEDED, newest=True, replaced=True, **values)
        name, reason = "succeeded", "replaced"
    else:
        name, reason = "cancelled", codec.text_of(exc)
        done = ledger.finish(operation, State.CANCELLED, ledger.Failure(f"Ignored: {reason}"), newest=True)
    if done and name:
        notifications.transition(name, operation, reason)
    elif not done and not requeue_for_newer_arguments(attempt.task, operation):
        raise OwnershipLost
