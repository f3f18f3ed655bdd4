"""Work is asked for: a new row, an ended one that is opened again, newer arguments for a pending one."""

import uuid
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F

from django_task_safety.conf import conf
from django_task_safety.ledger import history, notifications, parents, subject_lock, table
from django_task_safety.ledger import insert as inserting
from django_task_safety.ledger.columns import (
    FRESH,
    NEWER,
    SHORT_TEXT,
    SUBJECT_COLUMNS,
    forget_expressions,
    write,
    write_spelt,
)
from django_task_safety.record import AbstractOperation, OperationRows, State
from django_task_safety.values.clock import After, Now

#: How many operations on objects this thread has written: what is being deleted may have to be looked at again.
enqueued: ContextVar[int] = ContextVar("django_task_safety_enqueued", default=0)


def enqueue(operations: Sequence[AbstractOperation]) -> list[AbstractOperation]:
    """Insert operations; return those whose id, key and lock were new, and whose object, where it matters, is there.
    Raises `ObjectGone` if there are several, and the object of one is gone."""
    subject_row = operations[0].subject_row if len(operations) == 1 else None
    if subject_row is None or not subject_row.here:
        subject_lock.lock_rows(operation.subject_row for operation in operations if operation.subject_row)
    here = subject_row if subject_row and subject_row.here else None
    db, titles = table.connection(), [operation.title for operation in operations]

    def insert(spell: Callable[[str], str]) -> int | None:
        for operation, title in zip(operations, titles, strict=True):
            operation.title = spell(title)[:SHORT_TEXT]
        return table.retry_on_deadlock(lambda: inserting.insert(db, operations, here))

    # A savepoint for each title with an umlaut would cost more than it is worth.
    inserted = write_spelt(db, titles, insert, undoable=False)
    new = list(operations) if inserted == len(operations) else []
    if inserted != len(operations) and len(operations) > 1:
        present = set(table.by_id(*(operation.pk for operation in operations)).values_list("pk", flat=True))
        new = [operation for operation in operations if operation.pk in present]
    for operation in new:
        # As a row that was read: it can be an argument of another task.
        operation._state.adding, operation._state.db = False, conf().DATABASE
        if operation.subject_label:
            enqueued.set(enqueued.get() + 1)
        forget_expressions(operation)
        notifications.transition("started" if operation.state == State.RUNNING else "enqueued", operation)
    return new


def started(worker: str, lease: float, limit: float | None) -> dict[str, Any]:
    """Return the columns of a row that is inserted by the attempt that runs it; for the rest see `claim`."""
    return {
        **{"state": State.RUNNING, "token": uuid.uuid4(), "worker": worker, "attempt": 1, "started_at": Now()},
        **{"available_at": Now(), "due_at": After(lease), "deadline_at": None if limit is None else After(limit)},
    }


def rerun(seen: AbstractOperation, asked: AbstractOperation, *, new_work: bool, event: str = "") -> bool:
    """Queue an ended operation again for what ``asked`` asks, unless it changed since it was read. Raises `ObjectGone`
    if the object is gone.

    Args:
        event: The line of its history that says who did it.
    """
    values = {**FRESH, **_asked(seen, asked), "state": State.QUEUED}
    values["generation"] = seen.generation + (1 if new_work else 0)
    if event:
        values["history"] = history.with_line(event)
    if seen.parent_id is None:
        return _write_held(seen, asked, values, "enqueued")
    with transaction.atomic(using=conf().DATABASE):
        # The object first, as a delete does.
        lock_row(asked)
        # Invariant: the parent ends last. A chunk is pruned with it.
        parents.reopen_parent(seen.parent_id)
        if _write_held(seen, asked, {**values, "retention": None}, "enqueued"):
            return True
        transaction.set_rollback(True, using=conf().DATABASE)
        return False


def replace_arguments(seen: AbstractOperation, asked: AbstractOperation) -> bool:
    """Give a pending operation newer arguments, unless it changed since it was read.

    A queued one runs with them; a running one runs once more with them when it has ended.
    """
    values = _asked(seen, asked)
    if seen.state == State.RUNNING:
        # The attempt's lease stays; settle finds the newer revision, and when it is to start. Where the attempt is
        # lost, the newer work has attempts of its own. The row stays tied to the attempt's object.
        newer = {newer: values[column] for column, newer in NEWER.items()}
        values = {name: values[name] for name in values.keys() - {"due_at", *SUBJECT_COLUMNS}} | newer
        if asked.max_attempts is not None:
            values["max_attempts"] = F("attempt") + asked.max_attempts
    else:
        values["attempt"] = 0
    values["generation"] = seen.generation + 1
    return _write_held(seen, asked, values)


def _write_held(seen: AbstractOperation, asked: AbstractOperation, values: dict[str, Any], name: str = "") -> bool:
    """Change the row as it was read, while the object is held; False also where another one holds the lock."""
    if asked.subject_label:
        enqueued.set(enqueued.get() + 1)
    if asked.subject_row is None and asked.lock_slot is None:
        return write(_as_read(seen), seen, values, name)
    try:
        with transaction.atomic(using=conf().DATABASE):
            lock_row(asked)
            return write(_as_read(seen), seen, values, name)
    except IntegrityError:
        if asked.lock_slot is None:
            raise
        return False


def lock_row(asked: AbstractOperation) -> None:
    """Hold on to the object that the operation needs, until the end of the transaction. Raises `ObjectGone` if it does
    not exist any more, or is removed."""
    subject_lock.lock_rows([asked.subject_row] if asked.subject_row else [])


def _as_read(seen: AbstractOperation) -> OperationRows:
    return table.rows().filter(pk=seen.pk, state=seen.state, revision=seen.revision, attempt=seen.attempt)


def _asked(seen: AbstractOperation, asked: AbstractOperation) -> dict[str, Any]:
    # The statement is guarded by the revision that was seen, so the next one is known.
    names = (
        *("task", "payload", "options", "match_digest", "version", *SUBJECT_COLUMNS),
        *("max_attempts", "available_at", "expires_at", "retention", "due_at", "delivered", "waits_for", "replaced"),
        *("title", "requested_by", "queue"),
    )
    return {**{name: asked.__dict__[name] for name in names}, "revision": seen.revision + 1}
