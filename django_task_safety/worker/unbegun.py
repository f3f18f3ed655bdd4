"""A hook before the task ended what it was to begin: its operation ends so too, though no attempt began."""

import contextlib
import uuid

from celery.exceptions import Ignore

from django_task_safety import ledger
from django_task_safety.context import Attempt, running
from django_task_safety.ledger import schedule, worker_id
from django_task_safety.options import TaskOptions
from django_task_safety.worker.attempt import begin, settle_ignored
from django_task_safety.worker.compensation import fail
from django_task_safety.worker.endings import conclude


def fail_unbegun(task: TaskOptions, pk: uuid.UUID, exc: BaseException) -> None:
    """A hook before the task (``before_start``) raised, and Celery has told of it: fail the operation, of which no
    attempt could ever begin."""
    if attempt := _claim_unbegun(task, pk):
        with running(attempt):
            fail(task, attempt.operation, exc)


def end_unbegun(task: TaskOptions, pk: uuid.UUID, exc: BaseException) -> None:
    """As `fail_unbegun`, of what Celery tells nobody as a failure: it ends as if the body had raised it."""
    attempt = _claim_unbegun(task, pk)
    if attempt is None:
        return
    with contextlib.suppress(Exception), running(attempt):
        if isinstance(exc, Ignore):
            settle_ignored(attempt, exc)
            return
        try:
            conclude(attempt, exc)
        finally:
            schedule.leave_telling(attempt.operation)


def _claim_unbegun(task: TaskOptions, pk: uuid.UUID) -> Attempt | None:
    seen = ledger.claim(pk, worker_id.me(), *worker_id.limits(task), task=task.name)
    return begin(task, seen.operation) if seen is not None and seen.claimed else None
