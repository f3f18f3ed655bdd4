"""One log line and one Django signal for each transition, after its transaction committed.

A failure that Celery logs, with its traceback, at the level that the task's ``throws`` says, is not logged as an error
once more; any other is, with its exception.
"""

import logging
from functools import partial
from typing import Any

from django.db import transaction
from django.dispatch import Signal

from django_task_safety import signals
from django_task_safety.conf import conf
from django_task_safety.record import AbstractOperation
from django_task_safety.values import codec
from django_task_safety.values.log_fields import log_fields

logger = logging.getLogger("django_task_safety")

_LEVELS = {"failed": logging.ERROR, "retried": logging.WARNING, "requeued": logging.WARNING}


def heard(name: str, *, logged: bool = False) -> bool:
    """Return whether anybody hears of this kind of transition: a receiver of its signal, or the log."""
    return bool(signals.BY_NAME[name].receivers) or logger.isEnabledFor(_level(name, logged))


def transition(
    name: str, operation: AbstractOperation, reason: str = "", *, logged: bool = False, **extra: Any
) -> None:
    """Announce that ``operation`` was enqueued, started, succeeded, … once the current transaction has committed.

    Args:
        logged: Whether Celery logs the exception with which it failed.
        extra: What the signal carries besides.
    """
    if heard(name, logged=logged):
        announce = partial(now, name, operation, reason, logged=logged, **extra)
        transaction.on_commit(announce, using=conf().DATABASE, robust=True)


def now(name: str, operation: AbstractOperation, reason: str = "", *, logged: bool = False, **extra: Any) -> None:
    """Announce it at once, its transaction having committed."""
    if operation.waits_for is not None:
        return  # a waiter is no work of its own
    logger.log(
        _level(name, logged),
        "operation %s: task=%s key=%s id=%s attempt=%s%s",
        name,
        operation.task,
        codec.one_line(operation.key) or "-",
        operation.pk,
        operation.attempt,
        f" reason={codec.one_line(reason)}" if reason else "",
        exc_info=None if logged else extra.get("exc"),
        extra=log_fields(operation),
    )
    tell(signals.BY_NAME[name], f"operation_{name}", type(operation), operation=operation, **extra)


def ownership_lost(operation: AbstractOperation) -> None:
    """Announce that an attempt found out that it lost the operation."""
    tell(signals.attempt_fenced, "attempt_fenced", type(operation), operation=operation)


def tell(signal: Signal, name: str, sender: Any, **carried: Any) -> None:
    """Send a signal, at once; a receiver that fails is logged."""
    for receiver, outcome in signal.send_robust(sender=sender, **carried):
        if isinstance(outcome, Exception):
            logger.error("receiver %r of %s failed", receiver, name, exc_info=outcome)


def _level(name: str, logged: bool = False) -> int:
    return logging.INFO if logged else _LEVELS.get(name, logging.INFO)
