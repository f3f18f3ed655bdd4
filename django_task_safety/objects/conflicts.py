"""What stands in an operation's way: a lock that another one holds, or an object that is gone; and the errors."""

from collections.abc import Sequence
from datetime import datetime

from django.db.models import Q

from django_task_safety import ledger
from django_task_safety.errors import ObjectLocked
from django_task_safety.ledger import table
from django_task_safety.record import AbstractOperation, OperationRows, State
from django_task_safety.values.clock import Now
from django_task_safety.values.identity import Identity

#: The task name of an operation that is no task call but a block of code that holds a lock.
LOCK = "django_task_safety.lock"
#: Why operations are cancelled that go with their object.
DELETED = "its object ({label}) was deleted"
#: How many operations an error lists.
LISTED = 100

#: A lock whose holder died holds nothing: nobody takes such a block of code up again.
LAPSED = Q(task=LOCK, state=State.RUNNING, due_at__lte=Now())


def look(asked: AbstractOperation) -> None:
    """Raise if the operation cannot be written because of its object; after an insert that wrote nothing.

    Raises:
        ObjectLocked: Naming the operation that holds the lock.
        ObjectGone: If the object does not exist any more, or is removed.
    """
    if asked.lock_slot is not None:
        rivals = table.rows().filter(lock_slot=asked.lock_slot).exclude(pk=asked.pk)
        if asked.key_digest is not None:
            rivals = rivals.exclude(key_digest=asked.key_digest)
        if holder := rivals.exclude(LAPSED).first():
            raise locked([holder], f"takes no other operation that locks it ({asked.lock!r})")
        # Looked for before, since the UPDATE would wait for one that is not committed yet.
        if rivals.filter(LAPSED).exists():
            free(rivals)
    if asked.subject_row is not None and not asked.subject_row.exists():
        raise asked.subject_row.gone()


def free(found: OperationRows) -> int:
    """End those that hold a lock for a block of code whose lease ran out; return how many."""
    failure = ledger.Failure("WorkerLost: The lease of the lock ran out.")
    return ledger.discard_exhausted(found.filter(LAPSED), failure, delivered=True)


def locked(operations: Sequence[AbstractOperation], what: str) -> ObjectLocked:
    """Return the error that names those who hold an object."""
    first = operations[0]
    more = f" and {len(operations) - 1} more" if len(operations) > 1 else ""
    since = first.started_at or first.created_at
    until = first.lease_expires_at
    times = f"since {_shown(since)}" + (f", until {_shown(until)} unless renewed" if until else "")
    who = f"the lock {first.lock!r}" if first.task == LOCK else first.task
    by = f" of {first.worker}" if first.worker else ""
    return ObjectLocked(
        f"{Identity.stored(first)} {what}: {who}{by} holds it {times}{more}. Wait for it to end, or cancel it.",
        first,
        operations,
    )


def _shown(moment: datetime) -> str:
    return moment.isoformat(sep=" ", timespec="seconds")
