"""What log records say of an operation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django_task_safety.record import AbstractOperation

#: The same of none.
NOTHING = {"operation": "", "task": "", "key": "", "attempt": ""}


def log_fields(operation: AbstractOperation) -> dict[str, Any]:
    """Return its id as text, task, key and attempt; in its key, what nobody is to read is masked."""
    said = {"operation": str(operation.pk), "task": operation.task, "key": operation.key}
    return {**said, "attempt": operation.attempt}
