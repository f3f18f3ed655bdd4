"""What log records say of an operation."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django_task_safety.record import AbstractOperation

logger = logging.getLogger("django_task_safety")

#: The same of none.
NOTHING = {"operation": "", "task": "", "key": "", "attempt": ""}


def log_fields(operation: AbstractOperation) -> dict[str, Any]:
    """Return its id as text, task, key and attempt; in its key, what nobody is to read is masked."""
    said = {"operation": str(operation.pk), "task": operation.task, "key": operation.key}
    return {**said, "attempt": operation.attempt}


def log_about(operation: AbstractOperation, level: int, text: str, *args: Any, **kwargs: Any) -> None:
    """Log a line that begins with the operation's id, and has these fields."""
    line = f"operation %s: {text}"
    logger.log(level, line, operation.pk, *args, extra=log_fields(operation), stacklevel=2, **kwargs)
