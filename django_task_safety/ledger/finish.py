"""An attempt, or somebody on its behalf, gives an operation back or ends it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from django_task_safety.conf import conf
from django_task_safety.ledger import history, notifications, parents, schedule, statements, table
from django_task_safety.ledger.columns import ENDED, QUEUED_AGAIN, Failure, update, write
from django_task_safety.ledger.patience import bounded, wait_at_end
from django_task_safety.record import AbstractOperation, OperationRows, State
from django_task_safety.values import codec
from django_task_safety.values.clock import Now


def settle(operation: AbstractOperation, result: str) -> bool:
    """Record the success of the attempt that owns ``operation``; False when it does not own it any more,
    or when newer arguments wait."""
    if operation.token is None:
        return False
    soon, wait = conf().REPUBLISH_AFTER, wait_at_end(operation)
    seen = (operation.pk, operation.token, operation.revision)
    settled = statements.settle(table.connection(), *seen, result, soon=soon, wait=wait)
    if settled:
        operation.state, operation.result_payload, operation.token = State.SUCCEEDED, result, None
        notifications.transition("succeeded", operation)
        parents.chunk_ended(operation)
    return settled


def requeue(
    operation: AbstractOperation,
    delay: float,
    values: dict[str, Any] | None = None,
    *,
    name: str,
    reason: str = "",
    newest: bool = False,
) -> bool:
    """Queue the operation again in the name of the attempt that owns it.

    Args:
        delay: Seconds until it may run; newer arguments may have to wait longer.
        values: Further columns: changed arguments, the last error.
        newest: Only if nobody asked for newer work meanwhile.
    """
    queued = {**QUEUED_AGAIN, "state": State.QUEUED, **schedule.queued_again(delay)}
    if name in ("retried", "requeued"):
        queued["history"] = history.with_line(history.attempt(operation, name, reason))
    done = write(_owned(operation, newest), operation, {**queued, "republished": 0, **(values or {})})
    if done:
        extra: dict[str, Any] = {"delay": delay} if name == "retried" else {}
        notifications.transition(name, operation, reason, **extra)
    return done


def finish(
    operation: AbstractOperation, state: State, failure: Failure | None = None, *, newest: bool = False, **values: Any
) -> bool:
    """End the operation in the name of the attempt that owns it, if it still does; see `requeue`."""
    failed = dataclasses.asdict(failure) if failure else {}
    due = schedule.after_end(values.get("delivered", operation.__dict__.get("delivered")))
    ended = {**ENDED, "state": state, "ended_at": Now(), "due_at": due, **failed, **values}
    if failure is not None and operation.waits_for is None:
        ended["history"] = history.with_line(history.attempt(operation, state.value, failure.error))
    if not write(_owned(operation, newest), operation, ended):
        return False
    parents.chunk_ended(operation)
    return True


def _owned(operation: AbstractOperation, newest: bool) -> OperationRows:
    # Invariant: fence. Invariant: the newest arguments run.
    owned = table.rows().filter(pk=operation.pk, token=operation.token, state=State.RUNNING)
    if newest:
        owned = owned.filter(revision=operation.revision)
    return bounded(owned, wait_at_end(operation))


def cancel(found: OperationRows, reason: str, by: Any = None) -> int:
    """Cancel what is pending among the rows found; ``by`` whom, if somebody asked for it."""
    line = history.with_line(history.event("cancel", by, reason))
    # Invariant: nothing ended comes back.
    return update(found.filter(state__in=AbstractOperation.PENDING), {**cancelled(reason), "history": line})


def cancelled(reason: str) -> dict[str, Any]:
    """Return the columns of an operation that somebody cancels."""
    # Due now, for whoever comes first to tell those who wait.
    due = {"due_at": Now(), "delivered": False}
    return {**ENDED, "state": State.CANCELLED.value, "error": codec.printable(reason), "ended_at": Now(), **due}


def rescue(lost: Sequence[AbstractOperation], error: str) -> int:
    """Queue running operations again whose worker is lost, and which the caller holds; the attempt stays counted."""
    queued = {**QUEUED_AGAIN, **schedule.queued_again(), "state": State.QUEUED, "error": codec.printable(error)}
    queued["history"] = history.with_lines({row.pk: history.attempt(row, "requeued", error) for row in lost})
    return update(table.by_id(*(row.pk for row in lost)).filter(state=State.RUNNING), queued)


def discard_exhausted(
    found: OperationRows, failure: Failure, *, delivered: bool, lost: Sequence[AbstractOperation] = ()
) -> int:
    """Fail pending operations that cannot be attempted any more.

    Args:
        lost: Those of them that were running, as they were seen.
        delivered: Whether somebody else tells those who wait, or nobody waits; or else the next sweep does.
    """
    due = schedule.retained() if delivered else Now()
    ended = {**ENDED, **dataclasses.asdict(failure), "state": State.FAILED, "ended_at": Now()}
    ended.update(due_at=due, delivered=delivered)
    for row in lost:
        parents.chunk_ended(row)
    if lost:
        lines = {row.pk: history.attempt(row, "failed", failure.error) for row in lost}
        ended["history"] = history.with_lines(lines)
    return update(found.filter(state__in=AbstractOperation.PENDING), ended)


def discard_unsweepable(found: OperationRows, failure: Failure) -> int:
    """Fail pending operations of which nothing else can be done, or recorded; nobody looks at them any more."""
    # The fewest columns, none of them computed of another one: any of those may be what nobody can cope with.
    ended = {**ENDED, "state": State.FAILED, "error": failure.error, "ended_at": Now(), "due_at": None}
    return found.filter(state__in=AbstractOperation.PENDING).update(**ended)


def note_error(operation: AbstractOperation, error: str) -> None:
    """Say more of why an operation failed."""
    operation.error = codec.printable(error)
    update(table.by_id(operation.pk), {"error": operation.error})


def prune(found: OperationRows) -> int:
    """Delete ended operations, parents with their chunks, but so many of these at a time, and only those chunks that
    nobody else has locked; return how many. In a transaction, in which the caller has locked the rows found."""
    ended = found.filter(parent_id=None).exclude(state__in=AbstractOperation.PENDING)
    split = list(ended.filter(task=parents.SPLIT).values_list("pk", flat=True))
    chunks = parents.chunks(*split).exclude(state__in=AbstractOperation.PENDING)
    some = list(chunks.values_list("pk", flat=True)[: conf().SWEEP_BATCH]) if split else []
    if not some:
        return ended._raw_delete(found.db)
    free = table.locked(table.by_id(*some).only("pk"))
    pruned = table.by_id(*(row.pk for row in free))._raw_delete(found.db)
    return pruned + ended.exclude(pk__in=split)._raw_delete(found.db)
