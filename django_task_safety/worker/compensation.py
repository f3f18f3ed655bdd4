"""An operation fails and is compensated for, in one transaction."""

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from django.db import transaction

from django_task_safety import ledger
from django_task_safety.conf import conf
from django_task_safety.errors import ImplicitCommit
from django_task_safety.ledger import notifications, table
from django_task_safety.ledger.patience import kept
from django_task_safety.options import Compensation, TaskOptions
from django_task_safety.producer.outcome import failure_of
from django_task_safety.record import AbstractOperation, State
from django_task_safety.values import codec
from django_task_safety.values.log_fields import log_about
from django_task_safety.worker import body_transaction
from django_task_safety.worker.requeue import requeue_for_newer_arguments

logger = logging.getLogger("django_task_safety")


class TransactionBroken(Exception):
    """A compensation broke the transaction that it shares with the end of its operation."""


def fail(
    task: TaskOptions, operation: AbstractOperation, exc: BaseException, *, logged: bool = True, **values: Any
) -> bool:
    """Fail the operation that this attempt owns, and compensate, in one transaction.

    Args:
        logged: Whether Celery gets to see the exception, and logs it.
        values: Further columns.

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
        notifications.transition("failed", operation, failure.error, exc=exc, logged=logged)
        return operation

    return compensated(task, exc, finish)


def compensated(task: TaskOptions | None, exc: BaseException, finish: Callable[[], AbstractOperation | None]) -> bool:
    """Fail an operation and call its compensations in one transaction.

    A compensation that breaks that transaction (a deadlock, a lost connection), or exits, is tried once more in a new
    one, and then left out: the operation ends.

    Args:
        task: None where it is not known.
        exc: What the operation fails with.
        finish: Fails it, and returns it; None where there is nothing to end.
    """
    handlers = task.compensations if task is not None else []
    problem: BaseException | None = None
    for called in (handlers, handlers, []):
        try:
            with transaction.atomic(using=conf().DATABASE):
                # The end of an attempt has a patience of its own, which is none of the handlers' business.
                with kept(table.connection()) if called else nullcontext():
                    operation = finish()
                if operation is not None:
                    _compensate(called, operation, exc)
                    if problem is not None and not called:
                        _note(operation, problem)
                return operation is not None
        except TransactionBroken as broken:
            problem = broken.__cause__ or broken
            logger.exception("a compensation broke its transaction")
    raise AssertionError("unreachable")


def _compensate(handlers: Sequence[Compensation], operation: AbstractOperation, exc: BaseException) -> None:
    """Call each; one that fails is rolled back, logged and noted, and the operation stays failed."""
    for handler in handlers:
        problem, committed = None, partial(_committed, operation)
        try:
            with transaction.atomic(using=conf().DATABASE), body_transaction.open_to_the_end(committed):
                handler(operation, exc)
        except Exception as caught:
            problem = caught
            if isinstance(caught, ImplicitCommit) and caught is not exc:
                # All that it was to share is committed: the note of it, and the other handlers, go in the next one.
                transaction.set_rollback(False, using=conf().DATABASE)
        except BaseException as caught:
            # Its own, or the process is told to go in the middle of it.
            raise TransactionBroken("It exited.") from caught
        if table.connection().needs_rollback:
            raise TransactionBroken("It left its transaction unusable.") from problem
        if problem is not None:
            log_about(operation, logging.ERROR, "its compensation failed", exc_info=problem)
            _note(operation, problem)


def _committed(operation: AbstractOperation, statement: str) -> ImplicitCommit:
    return ImplicitCommit(
        f"It committed its transaction by the statement {statement!r}: what it wrote before stays, and it is not "
        "called again. Let it enqueue a task that sends the statement",
        operation,
    )


def _note(operation: AbstractOperation, problem: BaseException) -> None:
    ledger.note_error(operation, f"{operation.error} (its compensation failed: {codec.describe(problem)})")
