"""Parents: operations that run nothing, are at work as long as one of their chunks is pending, and end as they do.

A chunk's transaction never touches its parent, whose row would make all of them wait for each other. Whoever ended a
chunk looks after its commit whether that was the last; what nobody comes to see, the next sweep does. A chunk that is
asked for again asks for its parent again in the same transaction, the parent first, and changes the parent's revision:
by that an end that was decided before does not go through.
"""

import dataclasses
import time
import uuid
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import Case, Count, F, FloatField, Q, Sum, Value, When
from django.db.models.functions import Coalesce

from django_task_safety.conf import conf
from django_task_safety.errors import OperationFailed
from django_task_safety.ledger import history, notifications, schedule, table
from django_task_safety.ledger.columns import ENDED, FRESH, update, write
from django_task_safety.record import AbstractOperation, OperationRows, State
from django_task_safety.values.clock import After, Now

#: The task name of an operation that is no task call but the parent of chunks.
SPLIT = "django_task_safety.split"
#: Of how much of its time a sweep looks at one parent: one with very many chunks is looked at less often.
_SHARE = 0.05


def chunks(*pks: uuid.UUID) -> OperationRows:
    """Return the chunks of parents."""
    return table.rows().filter(parent_id__in=pks) if len(pks) != 1 else table.rows().filter(parent_id=pks[0])


@dataclasses.dataclass(slots=True)
class Tally:
    """What has become of a parent's chunks, by number."""

    states: dict[str, int] = dataclasses.field(default_factory=dict)
    done: float = 0.0
    size: int = 0

    @property
    def pending(self) -> int:
        """How many have not ended."""
        return sum(self.states.get(state, 0) for state in AbstractOperation.PENDING)

    @property
    def progress(self) -> float:
        """The mean of their progress, weighted by their sizes."""
        return min(1.0, self.done / self.size) if self.size else 1.0

    def outcome(self) -> tuple[State, str]:
        """Return how the parent ends when all of them have, and why."""
        failed, cancelled = self.states.get(State.FAILED, 0), self.states.get(State.CANCELLED, 0)
        every = sum(self.states.values())
        if failed:
            more = f"; {cancelled} more were cancelled" if cancelled else ""
            return State.FAILED, f"{failed} of {every} chunks failed{more}"
        return (
            (State.CANCELLED, f"{cancelled} of {every} chunks were cancelled") if cancelled else (State.SUCCEEDED, "")
        )


def tallies(pks: Collection[uuid.UUID]) -> dict[uuid.UUID, Tally]:
    """Return what has become of the chunks of parents: one statement."""
    done = Case(
        When(state=State.SUCCEEDED, then=Value(1.0)),
        default=Coalesce(F("progress"), Value(0.0)),
        output_field=FloatField(),
    )
    found = {pk: Tally() for pk in pks}
    grouped = chunks(*pks).order_by().values("parent_id", "state")
    for row in grouped.annotate(number=Count("pk"), rows=Sum("size"), done=Sum(done * F("size"))):
        tally = found[row["parent_id"]]
        tally.states[row["state"]] = row["number"]
        tally.size += row["rows"] or 0
        tally.done += row["done"] or 0.0
    return found


def is_open_parent(operation: AbstractOperation) -> bool:
    """Return whether it is a parent whose progress is that of its chunks."""
    values = operation.__dict__
    return values.get("task") == SPLIT and values.get("state") != State.SUCCEEDED


def load_progress(operations: Sequence[AbstractOperation]) -> None:
    """Fill in the progress of those among the operations that are parents, in one statement for all of them."""
    parents = [operation for operation in operations if is_open_parent(operation)]
    found = tallies([operation.pk for operation in parents]) if parents else {}
    for operation in parents:
        operation.progress = found[operation.pk].progress if found[operation.pk].states else None


def settle_parent(pk: uuid.UUID) -> bool:
    """End a parent none of whose chunks is pending, as they ended; return whether this did it."""
    if chunks(pk).pending().exists():
        return False
    with transaction.atomic(using=conf().DATABASE):
        # Before the chunks are counted. Who has it locked asks for it again, ends it too, or leaves that to a sweep.
        parent = table.locked(table.rows().filter(pk=pk, task=SPLIT, state=State.RUNNING))
        return bool(parent) and _finish_parent(parent[0], tallies([pk])[pk])


def _finish_parent(parent: AbstractOperation, tally: Tally) -> bool:
    if tally.pending:
        return False
    state, error = tally.outcome()
    ended = {**ENDED, "state": state, "error": error, "progress": tally.progress, "ended_at": Now()}
    if error:
        ended["history"] = history.with_line(history.attempt(parent, state.value, error))
    # Invariant: the parent ends last.
    seen = table.by_id(parent.pk).filter(state=State.RUNNING, revision=parent.revision)
    if not write(seen, parent, {**ended, "due_at": schedule.retained()}):
        return False
    extra: dict[str, Any] = {"exc": OperationFailed(error, parent)} if state == State.FAILED else {}
    notifications.transition(state.value, parent, error, **extra)
    return True


def look_at(parent: AbstractOperation) -> bool:
    """Settle a parent that the caller holds, or note how far it is and when to look again; return whether it ended."""
    began = time.monotonic()
    tally = tallies([parent.pk])[parent.pk]
    if _finish_parent(parent, tally):
        return True
    soon = After(max(conf().SWEEP_INTERVAL, (time.monotonic() - began) / _SHARE))
    update(table.by_id(parent.pk).filter(state=State.RUNNING), {"progress": tally.progress, "due_at": soon})
    return False


def chunk_ended(operation: AbstractOperation) -> None:
    """After the commit that ends an operation, settle its parent, if it has one and this was the last of its chunks."""
    parent = operation.__dict__.get("parent_id")
    if parent is not None:
        transaction.on_commit(partial(settle_parent, parent), using=conf().DATABASE, robust=True)


def reopen_parent(pk: uuid.UUID, event: str = "") -> bool:
    """Have a parent run again whose chunks are asked for again; return whether it is there."""
    ended = ~Q(state=State.RUNNING)
    values: dict[str, Any] = {
        # Before the state: MySQL assigns from left to right.
        "attempt": Case(When(ended, then=F("attempt") + 1), default=F("attempt")),
        "started_at": Case(When(ended, then=Now()), default=F("started_at")),
        **{"revision": F("revision") + 1, "state": State.RUNNING, "ended_at": None, "delivered": True},
        **{"error": "", "traceback": "", "exception": "", "due_at": After(conf().SWEEP_INTERVAL)},
    }
    if event:
        values["history"] = history.with_line(event)
    return bool(update(table.by_id(pk), values))


def rerun_chunks(pk: uuid.UUID, states: Collection[State], event: str, *, new_work: bool) -> int:
    """Queue those of a parent's chunks again that ended in one of the states; return how many."""
    values = {
        **FRESH,
        **{"state": State.QUEUED, "revision": F("revision") + 1, "available_at": Now(), "expires_at": None},
        **{"due_at": After(conf().REPUBLISH_AFTER), "delivered": True, "history": history.with_line(event)},
    }
    if new_work:
        values["generation"] = F("generation") + 1
    return update(chunks(pk).filter(state__in=states), values)
