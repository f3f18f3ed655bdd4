"""One log line and one Django signal for each transition, after its transaction committed."""

import logging
from functools import partial
from typing import Any

from django.db import transaction

from django_task_safety import signals
from django_task_safety.conf import conf
from django_task_safety.record import AbstractOperation
from django_task_safety.values import codec

logger = logging.getLogger("django_task_safety")

_LEVELS = {"failed": logging.ERROR, "retried": logging.WARNING, "requeued": logging.WARNING}


def heard(name: str) -> bool:
    """Return whether anybody hears of this kind of transition: a receiver of its signal, or the log."""
    return bool(signals.BY_NAME[name].receivers) or logger.isEnabledFor(_level(name))


def transition(name: str, operation: AbstractOperation, reason: str = "", **extra: Any) -> None:
    """Announce that ``operation`` was enqueued, started, succeeded, … once the current transaction has committed."""
    if heard(name):
        transaction.on_commit(partial(now, name, operation, reason, **extra), using=conf().DATABASE, robust=True)


def now(name: str, operation: AbstractOperation, reason: str = "", **extra: Any) -> None:
    """Announce it at once, its transaction having committed."""
    if operation.waits_for is not None:
        return  # a waiter is no work of its own
    logger.log(
        _level(name),
        "operation %s: task=%s key=%s id=%s attempt=%s%s",
        name,
        operation.task,
        codec.one_line(operation.key) or "-",
        operation.pk,
        operation.attempt,
        f" reason={codec.one_line(reason)}" if reason else "",
    )
    for receiver, outcome in signals.BY_NAME[name].send_robust(sender=type(operation), operation=operation, **extra):
        if isinstance(outcome, Exception):
            logger.error("receiver %r of operation_%s failed", receiver, name, exc_info=outcome)


def _level(name: str) -> int:
    return _LEVELS.get(name, logging.INFO)
