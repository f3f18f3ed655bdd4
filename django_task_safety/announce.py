"""One log line and one Django signal for each transition, after its transaction committed."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import transaction

from django_task_safety import codec, signals
from django_task_safety.conf import conf

if TYPE_CHECKING:
    from django_task_safety.models import Operation

logger = logging.getLogger("django_task_safety")

_LEVELS = {"failed": logging.ERROR, "retried": logging.WARNING, "requeued": logging.WARNING}


def transition(name: str, operation: Operation, reason: str = "", **extra: Any) -> None:
    """Announce that ``operation`` was enqueued, started, succeeded, … once the current transaction has committed."""
    if operation.follows is not None:
        return  # a follower is no work of its own
    level = _LEVELS.get(name, logging.INFO)
    signal = signals.BY_NAME[name]
    if not signal.receivers and not logger.isEnabledFor(level):
        return
    transaction.on_commit(partial(_announce, name, level, operation, reason, extra), using=conf().DATABASE, robust=True)


def _announce(name: str, level: int, operation: Operation, reason: str, extra: dict[str, Any]) -> None:
    logger.log(
        level,
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
