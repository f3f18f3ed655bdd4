"""Queue an operation again: a retry, or newer arguments that waited for the end of an attempt."""

import contextlib
from collections.abc import Iterator
from typing import Any

from django.db import Error as DatabaseError
from django.db import transaction

from django_task_safety import ledger
from django_task_safety.conf import conf
from django_task_safety.context import Attempt, RetryRequest
from django_task_safety.ledger import table
from django_task_safety.ledger.patience import patience
from django_task_safety.options import TaskOptions
from django_task_safety.producer import outbox
from django_task_safety.producer.call import bind_stored_subject
from django_task_safety.record import AbstractOperation
from django_task_safety.values import codec
from django_task_safety.values.references import Reference
from django_task_safety.worker import retry_policy


class OwnershipLost(Exception):
    """The settle found that this attempt does not own the operation any more: roll everything back."""


class RowHeld(Exception):
    """Somebody's transaction held the row for longer than the attempt could wait for it: roll everything back."""


@contextlib.contextmanager
def not_for_ever() -> Iterator[None]:
    """Have an attempt whose end cannot be recorded for a row that is held come to none: it is no failure of the
    task."""
    try:
        yield
    except DatabaseError as exc:
        if not table.is_lock_timeout(exc):
            raise
        raise RowHeld from exc


def requeue(attempt: Attempt, request: RetryRequest) -> None:
    """Queue the next attempt with what ``self.retry()`` changed."""
    operation, task = attempt.operation, attempt.task
    values: dict[str, Any] = {}
    if request.exc is not None:
        values["error"] = codec.describe(request.exc)
    if request.max_retries is not None:
        values["max_attempts"] = request.max_retries + 1
    changed = retry_policy.changed(task, operation, request)
    announced = {"name": "retried", "reason": values.get("error", "")}
    done = ledger.requeue(operation, request.delay, {**values, **changed}, newest=bool(changed), **announced)
    if not done and changed:
        # Where somebody asked for newer work meanwhile, that is what the next attempt does.
        done = ledger.requeue(operation, request.delay, values, **announced)
    if not done:
        raise OwnershipLost
    if request.delay <= conf().MAX_BROKER_DELAY and not task.request.is_eager:
        publish_after_commit(operation)


def requeue_for_newer_arguments(task: TaskOptions, operation: AbstractOperation, **values: Any) -> bool:
    """Queue the operation once more, for newer work that was asked for meanwhile; False if it is not owned any more."""
    attempts = None if task.max_retries is None else task.max_retries + 1
    fresh = {"attempt": 0, "max_attempts": attempts, "result_payload": "", "started_at": None, "progress": None}
    if not ledger.requeue(operation, 0.0, {**fresh, "error": "", **values}, name="enqueued"):
        return False
    if not task.app.conf.task_always_eager:
        publish_after_commit(operation)
    return True


def note_subject(attempt: Attempt, subject: Reference | None) -> None:
    """Tie a running row to the object of its arguments, which only a primary key stood for when it was queued. Raises
    `ObjectGone` if it does not exist any more, or is removed."""
    if subject is None:
        return
    operation = attempt.operation
    columns = {**subject.identity.columns, "on_delete": attempt.task.on_delete}
    operation.__dict__.update(columns, lock="")
    bind_stored_subject(operation)
    with not_for_ever(), patience(conf().LEASE), transaction.atomic(using=conf().DATABASE):
        ledger.lock_row(operation)
        ledger.note_subject(operation, columns)


def publish_after_commit(operation: AbstractOperation) -> None:
    """Publish the operation as its row says, when the transaction that changed it is committed."""
    rows = table.by_id(operation.pk)
    transaction.on_commit(lambda: outbox.publish_rows(rows), using=conf().DATABASE, robust=True)
