"""The only writer of an operation's state. Each transition is one conditional statement: the database decides.

    enqueue    (nothing)        -> QUEUED      the id and the key are new
    reopen     terminal         -> QUEUED      as it was read
    amend      QUEUED, RUNNING  -> the same    newer arguments, as it was read
    claim      QUEUED, RUNNING  -> RUNNING     due; a running one only when its lease ran out
    settle     RUNNING          -> SUCCEEDED   the token is mine, the arguments are those I ran
    hand_back  RUNNING          -> QUEUED      the token is mine: a retry, newer arguments, a replacement
    end        RUNNING          -> FAILED, CANCELLED, SUCCEEDED (replaced)   the token is mine
    cancel     QUEUED, RUNNING  -> CANCELLED
    take_back  RUNNING          -> QUEUED      its lease ran out, or its worker is known to be lost
    give_up    QUEUED, RUNNING  -> FAILED      likewise, with its attempts spent

The caller owns the transaction; announcements wait for its commit.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Sequence
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

from django_task_safety import announce, codec, schedule, statements, table
from django_task_safety.clock import After, Now
from django_task_safety.conf import conf
from django_task_safety.managers import OperationQuerySet
from django_task_safety.models import Operation
from django_task_safety.table import Seen

State = Operation.State

#: What a row looks like when no attempt owns it.
_UNOWNED: dict[str, Any] = {"token": None, "deadline_at": None}
#: What a fresh run starts from.
_FRESH: dict[str, Any] = {
    **_UNOWNED,
    **{"attempt": 0, "republished": 0, "started_at": None, "ended_at": None, "replaced": False},
    **{"progress": None, "progress_message": "", "result_payload": "", "error": "", "traceback": "", "exception": ""},
}


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed, as text."""

    error: str
    traceback: str = ""
    exception: str = ""


def enqueue(operations: Sequence[Operation]) -> list[Operation]:
    """Insert operations; return those whose id and key were new."""
    inserted = statements.insert(table.connection(), operations)
    new = list(operations) if inserted == len(operations) else []
    if inserted != len(operations) and len(operations) > 1:
        present = set(
            table.rows().filter(pk__in=[operation.pk for operation in operations]).values_list("pk", flat=True)
        )
        new = [operation for operation in operations if operation.pk in present]
    for operation in new:
        _forget_expressions(operation)
        announce.transition("started" if operation.state == State.RUNNING else "enqueued", operation)
    return new


def reopen(seen: Operation, asked: Operation, *, new_work: bool) -> bool:
    """Queue an ended operation again for what ``asked`` asks, unless it changed since it was read."""
    values = {**_FRESH, **_asked(seen, asked), "state": State.QUEUED}
    values["generation"] = seen.generation + (1 if new_work else 0)
    return _write(_as_read(seen), seen, values, "enqueued")


def amend(seen: Operation, asked: Operation) -> bool:
    """Give a pending operation newer arguments, unless it changed since it was read.

    A queued one runs with them; a running one runs once more with them when it has ended.
    """
    values = _asked(seen, asked)
    if seen.state == State.RUNNING:
        # The attempt's lease and schedule stay; settle finds the newer revision.
        values = {name: values[name] for name in values.keys() - {"available_at", "due_at", "max_attempts"}}
    else:
        values["attempt"] = 0
    values["generation"] = seen.generation + 1
    return _write(_as_read(seen), seen, values)


def _as_read(seen: Operation) -> OperationQuerySet:
    return table.rows().filter(pk=seen.pk, state=seen.state, revision=seen.revision, attempt=seen.attempt)


def _asked(seen: Operation, asked: Operation) -> dict[str, Any]:
    # The statement is guarded by the revision that was seen, so the next one is known.
    names = (
        *("task", "payload", "options", "match_digest", "version", "subject_label", "subject_id", "on_delete"),
        *("max_attempts", "available_at", "expires_at", "retention", "due_at", "delivered", "follows"),
    )
    return {**{name: asked.__dict__[name] for name in names}, "revision": seen.revision + 1}


def claim(
    pk: uuid.UUID,
    owner: str,
    lease: float,
    limit: float | None,
    hint: Operation | None = None,
    task: str | None = None,
) -> Seen | None:
    """Make this attempt the owner of the operation, or return the row as it is.

    Args:
        pk: The operation's id.
        owner: Who claims, for people.
        lease: Seconds until the claim runs out unless renewed.
        limit: Seconds after which it is not renewed any more.
        task: The name of the task that would run it; another one's is not claimed.
        hint: What the message knows of the row; saves a statement where nothing changed since it was published.

    Returns:
        None where there is no such row.
    """
    token = uuid.uuid4()
    db = table.connection()
    if db.vendor == "postgresql":
        row = statements.claim_or_read(db, pk, token, owner, lease, limit, task)
        seen = _from_row(db, row, token, owner) if row else None
    else:
        seen = _claim_in_two(db, pk, token, owner, lease, limit, hint, task)
    if seen and seen.claimed:
        announce.transition("started", seen.operation)
    return seen


def _from_row(db: BaseDatabaseWrapper, row: statements.Row, token: uuid.UUID, owner: str) -> Seen:
    claimed, now, *values = row
    operation = Operation.from_db(db.alias, statements.read_columns(), values)
    if claimed:
        _taken(operation, token, owner)
    return Seen(operation, bool(claimed), now)


def _taken(operation: Operation, token: uuid.UUID, owner: str) -> None:
    """Make the instance what the claim made of the row."""
    operation.attempt, operation.state, operation.token, operation.owner = (
        operation.attempt + 1,
        State.RUNNING,
        token,
        owner,
    )
    for name in ("due_at", "deadline_at"):
        operation.__dict__.pop(name, None)


def _claim_in_two(
    db: BaseDatabaseWrapper,
    pk: uuid.UUID,
    token: uuid.UUID,
    owner: str,
    lease: float,
    limit: float | None,
    hint: Operation | None,
    task: str | None,
) -> Seen | None:
    while True:
        if hint and statements.claim_seen(db, pk, (hint.attempt, hint.revision), token, owner, lease, limit, task):
            _taken(hint, token, owner)
            return Seen(hint, True, timezone.now())
        seen = table.read(pk)
        if seen is None:
            return None
        changed = hint is None or (hint.attempt, hint.revision) != (seen.operation.attempt, seen.operation.revision)
        if not (changed and table.claimable(seen)) or task not in (None, seen.operation.task):
            return seen
        hint = seen.operation


def settle(operation: Operation, result: str, kept: float | None) -> bool:
    """Record the success of the attempt that owns ``operation``; False when it does not own it any more,
    or when newer arguments wait."""
    soon = conf().REPUBLISH_AFTER
    settled = operation.token is not None and statements.settle(
        table.connection(), operation.pk, operation.token, operation.revision, result, kept, soon
    )
    if settled:
        operation.state, operation.result_payload, operation.token = State.SUCCEEDED, result, None
        announce.transition("succeeded", operation)
    return settled


def hand_back(
    operation: Operation, delay: float, values: dict[str, Any] | None = None, *, name: str, reason: str = ""
) -> bool:
    """Queue the operation again in the name of the attempt that owns it.

    Args:
        operation: The operation, as the attempt knows it.
        delay: Seconds until it may run.
        values: Further columns: changed arguments, the last error.
        name: What to announce.
        reason: For the log.
    """
    look = schedule.first_look(delay)
    queued = {**_UNOWNED, "state": State.QUEUED, "available_at": After(delay), "due_at": After(look)}
    done = _write(_owned(operation), operation, {**queued, "republished": 0, **(values or {})})
    if done:
        announce.transition(name, operation, reason, **({"delay": delay} if name == "retried" else {}))
    return done


def end(operation: Operation, state: Operation.State, failure: Failure | None = None, **values: Any) -> bool:
    """End the operation in the name of the attempt that owns it, if it still does."""
    failed = dataclasses.asdict(failure) if failure else {}
    ended = {**_UNOWNED, "state": state, "ended_at": Now(), "due_at": schedule.after_end(operation), **failed, **values}
    return _write(_owned(operation), operation, ended)


def _owned(operation: Operation) -> OperationQuerySet:
    return table.rows().filter(pk=operation.pk, token=operation.token, state=State.RUNNING)


def cancel(found: OperationQuerySet, reason: str) -> int:
    """Cancel what is pending among the rows found."""
    return found.filter(state__in=Operation.PENDING).update(**_cancelled(reason))


def _cancelled(reason: str) -> dict[str, Any]:
    return {
        **_UNOWNED,
        **{
            "state": State.CANCELLED,
            "error": codec.printable(reason),
            "ended_at": Now(),
            "due_at": schedule.after_end(),
        },
    }


def take_back(found: OperationQuerySet, error: str) -> int:
    """Queue running operations again whose worker is lost; the attempt stays counted."""
    lost = found.filter(state=State.RUNNING)
    soon = After(conf().REPUBLISH_AFTER)
    return lost.update(**_UNOWNED, state=State.QUEUED, available_at=Now(), due_at=soon, error=codec.printable(error))


def give_up(found: OperationQuerySet, failure: Failure, **values: Any) -> int:
    """Fail pending operations that cannot be attempted any more."""
    failed = dataclasses.asdict(failure)
    return found.filter(state__in=Operation.PENDING).update(
        **_UNOWNED, **failed, state=State.FAILED, ended_at=Now(), due_at=schedule.after_end(), **values
    )


def prune(found: OperationQuerySet) -> int:
    """Delete ended operations."""
    return found.exclude(state__in=Operation.PENDING)._raw_delete(found.db)


def _write(found: OperationQuerySet, operation: Operation, values: dict[str, Any], name: str = "") -> bool:
    """Update the one row, and the instance where that succeeded."""
    if not found.update(**values):
        return False
    for attname, value in values.items():
        if hasattr(value, "resolve_expression"):
            operation.__dict__.pop(attname, None)
        else:
            setattr(operation, attname, value)
    if name:
        announce.transition(name, operation)
    return True


def _forget_expressions(operation: Operation) -> None:
    """Leave what the database computed to be read when it is asked for."""
    values = operation.__dict__
    for attname in [name for name, value in values.items() if isinstance(value, Now | After)]:
        del values[attname]
