"""Change what a row says of the object that its operation is about."""

import uuid

from django_task_safety.ledger import table
from django_task_safety.options import KEEP
from django_task_safety.record import AbstractOperation, State
from django_task_safety.values.identity import Identity


def rebind_subject(seen: AbstractOperation, identity: Identity) -> int:
    """Tie a queued operation to another object, unless it was given newer arguments since it was read."""
    queued = table.rows().filter(pk=seen.pk, state=State.QUEUED, revision=seen.revision)
    return queued.update(**identity.columns)


def allow_delete(pk: uuid.UUID, token: uuid.UUID) -> int:
    """Note that a running attempt deletes its own object, so that nothing on it is to be cancelled or protected."""
    return table.rows().filter(pk=pk, token=token).update(on_delete=KEEP)
