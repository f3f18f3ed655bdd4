"""What this thread's open transaction has enqueued, and will publish when it has committed."""

import uuid
from collections.abc import Collection
from functools import partial

from django_task_safety.ledger import table
from django_task_safety.producer import outbox


def uncommitted(pks: Collection[uuid.UUID]) -> bool:
    """Return whether one of these operations was enqueued in this thread's open transaction."""
    db = table.connection()
    waiting = [callback for _, callback, *_ in db.run_on_commit] if db.in_atomic_block else []
    publishing = [one for one in waiting if isinstance(one, partial) and one.func is outbox.publish_calls]
    return any(operation.pk in pks for one in publishing for _, operation in one.args[1])
