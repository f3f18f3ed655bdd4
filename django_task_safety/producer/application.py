"""Which application of a canvas a call belongs to.

Celery gives the tasks of a canvas their ids when it is frozen, or first applied, and uses the same ones when it is
applied again. So an id that is taken says nothing by itself: the call may be a copy, made by a worker that tells once
more how a task ended, or new work. What a worker calls for a chain, a callback or a chord is known by its caller: the
operation, and which of the pieces of work that were done in its row. What anybody else calls is always new.
"""

import uuid

from django_task_safety import ids
from django_task_safety.ledger import table
from django_task_safety.producer import call_options
from django_task_safety.producer.canvas import LAST_OF_CHORD
from django_task_safety.record import AbstractOperation


def id_of_new_work(first: AbstractOperation, asked: AbstractOperation) -> uuid.UUID | None:
    """Return an id for a call whose id is another operation's; None where the call is a copy of the one that made it.

    The same one for each copy of the call, so that the database tells them apart.
    """
    by = call_options.read(asked).get("caller")
    if by is None:
        return ids.new()
    stored = call_options.read(first)
    known = str(stored.get("caller") or stored.get("parent_id") or "")
    if by != known and by.startswith(LAST_OF_CHORD):
        by = _of_chord(by, known)
    return None if by == known else uuid.uuid5(first.pk, by)


def _of_chord(by: str, known: str) -> str:
    """Return the caller of a chord's body as if it were the one of the header's tasks that called before."""
    group, same = by.rpartition(" ")[0], known.rpartition(" ")[0]
    member = ids.uuid_of(known.rpartition(" ")[2][:36])
    if group != same or member is None:
        return group
    row = table.find(pk=member)
    return f"{group} {row.idempotency_key}" if row is not None else known


def takes_over(first: AbstractOperation, asked: AbstractOperation) -> bool:
    """Return whether new work goes on in the row of the operation that has its id: one that has ended, that everybody
    has heard of, and that no other call could ask for."""
    keyed = first.key_digest is not None or asked.key_digest is not None
    called = any("caller" in call_options.read(operation) for operation in (first, asked))
    return not (first.is_pending or keyed or called or not first.delivered or first.waits_for is not None)
