"""The end of a failed operation whose attempt is here to record it."""

from typing import Any

from django_task_safety import ledger
from django_task_safety.ledger import notifications
from django_task_safety.options import TaskOptions
from django_task_safety.producer.outcome import failure_of
from django_task_safety.record import AbstractOperation, State
from django_task_safety.worker.compensation import compensated
from django_task_safety.worker.requeue import requeue_for_newer_arguments


def fail(task: TaskOptions, operation: AbstractOperation, exc: BaseException, **values: Any) -> bool:
    """Fail the operation that this attempt owns, and compensate, in one transaction.

    Returns:
        False if it does not own it any more, or if newer work waits, which is queued.
    """
    failure, token = failure_of(task, exc), operation.token

    def finish() -> AbstractOperation | None:
        # As before an earlier try that was rolled back.
        operation.token, operation.state = token, State.RUNNING
        if not ledger.finish(operation, State.FAILED, failure, newest=True, **values):
            requeue_for_newer_arguments(task, operation, error=failure.error)
            return None
        notifications.transition("failed", operation, failure.error, exc=exc)
        return operation

    return compensated(task, exc, finish)
