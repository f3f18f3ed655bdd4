"""When somebody looks at a row next: one column, ``due_at``, drives the sweeper.

A queued row is due for publishing, a running one when its lease runs out, an ended one when its outcome should have
been delivered, or when its retention ends.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import models, transaction
from django.db.models import Case, F, Value, When
from django.db.models.functions import Coalesce, Greatest, Least

from django_task_safety.conf import conf
from django_task_safety.ledger import statements, table
from django_task_safety.ledger.patience import bounded, wait_at_end
from django_task_safety.record import AbstractOperation, OperationRows, State
from django_task_safety.values.clock import After, Now


def first_look(delay: float) -> float:
    """Return the seconds until the sweeper looks at a queued row: a long wait ends with its publication, a short one
    is published at once and looked after in case that was lost."""
    return delay if delay > conf().MAX_BROKER_DELAY else delay + conf().REPUBLISH_AFTER


def queued_again(delay: float = 0.0) -> dict[str, Any]:
    """Return the times of a running row that is queued again: in ``delay`` seconds, but not before the moment that
    newer arguments, which came while it ran, wait for."""
    start = Greatest(F("available_at"), After(delay))
    # Invariant: every pending row is looked at.
    # What waits for longer is published when its time comes; the rest is published now, and looked after.
    far = When(available_at__gt=After(conf().MAX_BROKER_DELAY), then=start)
    return {"available_at": start, "due_at": Case(far, default=Greatest(F("available_at"), After(first_look(delay))))}


def waits_here(operation: AbstractOperation, now: datetime) -> bool:
    """Return whether a queued operation starts too late for the broker to hold it."""
    return (operation.available_at - now).total_seconds() > conf().MAX_BROKER_DELAY


def after_end(delivered: bool | None) -> Any:
    """When to look at a row that its attempt ends: soon while its outcome is to be delivered, else when it is to be
    pruned; with None as the row says."""
    soon = After(conf().REPUBLISH_AFTER)
    if delivered is not None:
        return retained() if delivered else soon
    return Case(When(delivered=False, then=soon), default=retained())


def retained() -> Any:
    """Return the end of a row's retention, None for never."""
    kept = models.ExpressionWrapper(Now() + F("retention"), output_field=models.DateTimeField())
    return Case(When(retention__isnull=True, then=Value(None)), default=kept, output_field=models.DateTimeField())


def renew(pks: Sequence[uuid.UUID], worker: str, lease: float) -> int:
    """Extend the leases of what ``worker`` runs, but never past the deadline of an attempt; return how many.

    What somebody else has locked is left out: that is not waited for while the other leases run out.
    """
    running, connection = table.run_by(worker, *pks), table.connection()
    with transaction.atomic(using=connection.alias):
        if connection.features.has_select_for_update:
            running = table.by_id(*[row.pk for row in table.locked(running.only("pk"))])
        return running.update(due_at=Least(After(lease), Coalesce(F("deadline_at"), After(lease))))


def reschedule(found: OperationRows, seconds: float | None = None, **values: Any) -> int:
    """Set when the sweeper looks at the rows next: in ``seconds``, or when their retention ends."""
    due = retained() if seconds is None else After(seconds)
    return found.update(due_at=due, **values)


def reschedule_free(found: OperationRows, seconds: float | None = None, **values: Any) -> int:
    """`reschedule` those of the rows that nobody else has locked: their end is not waited for."""
    with transaction.atomic(using=table.connection().alias):
        free = table.locked(found.only("pk"))
        return reschedule(table.by_id(*(row.pk for row in free)), seconds, **values)


def set_back(pk: uuid.UUID, seconds: float) -> int:
    """Note that a sweep failed over the row, at which the next looks in ``seconds``, unless somebody has locked it."""
    return reschedule_free(table.by_id(pk), seconds, failed_sweeps=F("failed_sweeps") + 1)


def forget(pk: uuid.UUID) -> None:
    """Have no sweep look at the row any more."""
    table.by_id(pk).update(due_at=None)


def mark_delivered(pk: uuid.UUID, state: str, *, wait: bool) -> bool:
    """Note that whoever waits for the outcome has heard of it, where the row ended so and, unless it is to ``wait``,
    nobody else has locked it."""
    return statements.mark_delivered(table.connection(), pk, state, wait=wait)


def leave_telling(operation: AbstractOperation) -> None:
    """Have the next sweep tell how an operation ended: its attempt, which would have, does not come to it."""
    ended = table.by_id(operation.pk).exclude(state__in=AbstractOperation.PENDING)
    untold = bounded(ended.filter(attempt=operation.attempt), wait_at_end(operation))
    untold.update(delivered=False, due_at=Now())


def nobody_waits(pk: uuid.UUID) -> None:
    """Note that nobody waits for the outcome of an operation that has not ended."""
    table.by_id(pk).update(delivered=True)


def make_due(pk: uuid.UUID) -> None:
    """Make a queued operation due now: eager calls do not wait."""
    table.rows().filter(pk=pk, state=State.QUEUED, available_at__gt=Now()).update(available_at=Now())
