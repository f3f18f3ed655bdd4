"""How an attempt ends, and what is recorded of it: one table, `ENDINGS`.

    what ends it                       what the body wrote   the row becomes
    a return                           kept                  SUCCEEDED; QUEUED where newer arguments wait
    a return after retry(throw=False)  kept                  QUEUED
    self.replace()                     kept                  QUEUED as the replacement, or SUCCEEDED
    Ignore                             kept                  CANCELLED
    OwnershipLost                      rolled back           another attempt's, or CANCELLED by the body itself
    RowHeld                            rolled back           RUNNING until its lease runs out, then QUEUED
    OperationSuperseded                rolled back           another attempt's
    OperationCancelled, ObjectGone     rolled back           CANCELLED
    Retry                              rolled back           QUEUED; FAILED where the attempts are spent
    any other Exception                rolled back           QUEUED where it is retried; FAILED
    SystemExit and the like            rolled back           QUEUED; FAILED where the attempts or the time are spent

Celery tells the result backend, callbacks and chord what a task raised, but not of what ends the process, nor of a
Reject that goes back to the queue (before 5.7 of any): that is left to a sweep, and to the copy that comes back.

Where the attempt does not own its operation any more, nothing is recorded, and the row answers.
"""

import contextlib
import logging
from collections.abc import Callable
from typing import Any

from celery.exceptions import Ignore, Reject, Retry
from django.db import Error as DatabaseError

from django_task_safety import ledger
from django_task_safety.context import Attempt, RetryRequest
from django_task_safety.errors import ObjectGone, OperationCancelled, OperationSuperseded, TimeLimitPassed
from django_task_safety.ledger import notifications, schedule, table, worker_id
from django_task_safety.producer import canvas, outbox
from django_task_safety.producer.outcome import stored_outcome
from django_task_safety.record import State
from django_task_safety.values import codec
from django_task_safety.values.clock import Now
from django_task_safety.values.log_fields import log_about
from django_task_safety.worker import connection, retry_policy
from django_task_safety.worker.compensation import fail
from django_task_safety.worker.requeue import (
    OwnershipLost,
    RowHeld,
    publish_after_commit,
    requeue,
    requeue_for_newer_arguments,
)


def conclude(attempt: Attempt, exc: BaseException) -> Any:
    """Record how the attempt ended; where the database does not answer, leave that to the end of its lease."""
    # Whatever the body's transaction did to the row was rolled back, or is asked of the row again.
    attempt.operation.token, attempt.operation.state = attempt.token, State.RUNNING
    record = next(record for raised, record in ENDINGS if isinstance(exc, raised))
    try:
        return record(attempt, exc)
    except DatabaseError as problem:
        if problem is exc:
            raise  # the task's own, and recorded
        why = codec.describe(problem)
        text = "its end could not be recorded; its lease will run out: %s"
        log_about(attempt.operation, logging.ERROR, text, why)
        connection.abandon()
        raise Ignore("The database does not answer; the operation is taken back when its lease runs out.") from exc
    except BaseException as other:
        if other is not exc and not isinstance(other, Exception):
            # A receiver of a signal exits, and Celery tells nobody.
            with contextlib.suppress(DatabaseError):
                schedule.leave_telling(attempt.operation)
        raise


def _owned_by_another(attempt: Attempt, exc: BaseException) -> Any:
    return _answer_from_row(attempt, own_cancel=True)


def _held(attempt: Attempt, exc: BaseException) -> Any:
    """Somebody holds the row, and may go on doing so; this slot is free."""
    text = "its end could not be recorded, for somebody holds its row; its lease will run out"
    log_about(attempt.operation, logging.WARNING, text)
    raise Ignore("Somebody holds its row; the operation is taken back when its lease runs out.") from exc


def _superseded(attempt: Attempt, exc: BaseException) -> Any:
    return _answer_from_row(attempt)


def _cancelled(attempt: Attempt, exc: BaseException) -> Any:
    """End the operation as cancelled from inside; where it was cancelled from outside, answer with that."""
    operation, reason = attempt.operation, codec.text_of(exc)
    if ledger.finish(operation, State.CANCELLED, ledger.Failure(reason), newest=True):
        notifications.transition("cancelled", operation, reason)
        return stored_outcome(attempt.task, operation).get()
    if requeue_for_newer_arguments(attempt.task, operation):
        raise Ignore("Newer arguments waited; the operation goes on with them.")
    return _answer_from_row(attempt)


def _retried(attempt: Attempt, exc: Retry) -> Any:
    if attempt.retry is not None and attempt.requeued_with_body:
        raise exc  # throw=False: queued again with what the body wrote
    request = attempt.retry or retry_policy.foreign_retry(attempt, exc)
    if retry_policy.exhausted(attempt.operation):
        return _failed(attempt, request.exc or retry_policy.spent(attempt, request.args, request.kwargs))
    try:
        requeue(attempt, request)
    except OwnershipLost:
        return _answer_from_row(attempt)
    raise request.signal


def _ignored(attempt: Attempt, exc: Ignore) -> Any:
    """Recorded with what the body wrote, see `attempt`."""
    if attempt.replacement is not None:
        outbox.publish_rows(table.by_id(attempt.operation.pk))
    raise exc


def _failed(attempt: Attempt, exc: BaseException) -> Any:
    """Record a failed attempt: queue the next one, or fail the operation."""
    operation, task = attempt.operation, attempt.task
    delay = retry_policy.delay_after(task, operation, exc)
    if delay is None:
        untold = {"delivered": False} if isinstance(exc, Reject) and not task.request.is_eager else {}
        if not fail(task, operation, exc, **untold):
            return _answer_from_row(attempt, problem=exc)
        raise exc
    when: Any = delay
    signal = Retry(exc=exc if isinstance(exc, Exception) else None, when=when, is_eager=task.request.is_eager)
    try:
        requeue(attempt, RetryRequest(signal, delay, exc))
    except OwnershipLost:
        return _answer_from_row(attempt, problem=exc)
    raise signal from exc


def _interrupted(attempt: Attempt, exc: BaseException) -> None:
    """The process is told to go in the middle of the body: leave the work to another one. The attempt counts."""
    operation, why = attempt.operation, f"Its process was told to go: {codec.describe(exc)}"
    with contextlib.suppress(DatabaseError):
        if worker_id.ran_out(attempt.task):
            # The pool's way to enforce the hard time limit; its parent tells callbacks and chord.
            late = TimeLimitPassed("The hard time limit passed", operation)
            recorded = fail(attempt.task, operation, late, delivered=True)
        elif retry_policy.exhausted(operation):
            recorded = fail(attempt.task, operation, exc, logged=False, delivered=False, due_at=Now())
        elif recorded := ledger.requeue(operation, 0.0, {"error": why}, name="requeued", reason=why):
            publish_after_commit(operation)
        if not recorded:
            # It was a hook after the commit.
            schedule.leave_telling(operation)
    raise exc


#: What is done about each exception that rolled the body back: the first that fits.
ENDINGS: tuple[tuple[Any, Callable[[Attempt, Any], Any]], ...] = (
    (OwnershipLost, _owned_by_another),
    (RowHeld, _held),
    (OperationSuperseded, _superseded),
    ((OperationCancelled, ObjectGone), _cancelled),
    (Retry, _retried),
    (Ignore, _ignored),
    (Exception, _failed),
    (BaseException, _interrupted),
)


def _answer_from_row(attempt: Attempt, *, own_cancel: bool = False, problem: BaseException | None = None) -> Any:
    """This attempt lost the operation, or lost sight of its own commit: answer with what the row says.

    Args:
        problem: What was raised where the transaction may have been committed.
        own_cancel: Whether it may have been cancelled inside the body's own transaction, which was rolled back.
    """
    operation, reason, ended = attempt.operation, "cancelled in its own transaction", False
    if own_cancel:
        if ended := ledger.finish(operation, State.CANCELLED, ledger.Failure(reason), newest=True):
            notifications.transition("cancelled", operation, reason)
        else:
            ended = requeue_for_newer_arguments(attempt.task, operation)
    seen = table.read(operation.pk)
    if seen is not None and seen.operation.state == State.SUCCEEDED and problem is not None:
        log_about(operation, logging.ERROR, "it succeeded, but a hook after its commit failed", exc_info=problem)
    elif not ended:
        notifications.ownership_lost(operation)
    if seen is None or seen.operation.is_pending:
        log_about(operation, logging.WARNING, "another attempt took over; nothing was written")
        raise Ignore("Another attempt took over.")
    if seen.operation.delivered and canvas.has_canvas(attempt.task.request):
        raise Ignore("Another attempt took over, and its outcome was delivered.")
    return stored_outcome(attempt.task, seen.operation).get()
