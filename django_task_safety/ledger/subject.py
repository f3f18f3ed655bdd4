"""Change what a row says of the object that its operation is about."""

import uuid
from typing import Any

from django_task_safety.ledger import table
from django_task_safety.options import KEEP
from django_task_safety.record import AbstractOperation


def note_subject(operation: AbstractOperation, columns: dict[str, Any]) -> int:
    """Note in the name of a running attempt which object its operation is about."""
    return table.rows().filter(pk=operation.pk, token=operation.token).update(**columns)


def allow_delete(pk: uuid.UUID, token: uuid.UUID) -> int:
    """Note that a running attempt deletes its own object, so that nothing on it is to be cancelled or protected."""
    return table.rows().filter(pk=pk, token=token).update(on_delete=KEEP)
