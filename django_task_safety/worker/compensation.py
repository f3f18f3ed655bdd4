"""A failed operation and its compensations, in one transaction."""

import logging
from collections.abc import Callable, Sequence

from django.db import transaction

from django_task_safety import ledger
from django_task_safety.conf import conf
from django_task_safety.ledger import table
from django_task_safety.options import Compensation, TaskOptions
from django_task_safety.record import AbstractOperation
from django_task_safety.values import codec

logger = logging.getLogger("django_task_safety")


class TransactionBroken(Exception):
    """A compensation broke the transaction that it shares with the end of its operation."""


def compensated(task: TaskOptions | None, exc: BaseException, finish: Callable[[], AbstractOperation | None]) -> bool:
    """Fail an operation and call its compensations in one transaction.

    A compensation that breaks that transaction (a deadlock, a lost connection) is tried once more in a new one, and
    then left out: the operation ends.

    Args:
        task: The task; None where it is not known.
        exc: What the operation fails with.
        end: Fails it, and returns it; None where there is nothing to end.
    """
    handlers = task.compensations if task is not None else []
    problem: BaseException | None = None
    for called in (handlers, handlers, []):
        try:
            with transaction.atomic(using=conf().DATABASE):
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
        problem: Exception | None = None
        try:
            with transaction.atomic(using=conf().DATABASE):
                handler(operation, exc)
        except Exception as caught:
            problem = caught
        if table.connection().needs_rollback:
            raise TransactionBroken("It left its transaction unusable.") from problem
        if problem is not None:
            logger.error("operation %s: its compensation failed", operation.pk, exc_info=problem)
            _note(operation, problem)


def _note(operation: AbstractOperation, problem: BaseException) -> None:
    ledger.note_error(operation, f"{operation.error} (its compensation failed: {codec.describe(problem)})")
