"""The rows of the locks that blocks of code hold."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

from django.db import models, transaction

from django_task_safety import ids, ledger
from django_task_safety.conf import conf
from django_task_safety.context import current_operation
from django_task_safety.ledger import schedule, subject_lock, table, worker_id
from django_task_safety.ledger.heartbeat import heartbeat
from django_task_safety.objects import conflicts
from django_task_safety.options import KEEP, PROTECT
from django_task_safety.record import AbstractOperation, OperationRows, State, new_operation
from django_task_safety.values.chunks import chunk_size, chunks
from django_task_safety.values.clock import After, Now
from django_task_safety.values.identity import Identity, pk_text, root_model
from django_task_safety.values.keys import slot

#: How long the row of a lock is kept when it has ended.
KEPT = timedelta(hours=1)
#: Seconds that a transaction in which a lock is taken may last before the lock is lost at its commit.
LONGEST_TRANSACTION = 3600.0
#: Seconds to wait for a rival's transaction, in as many tries. The first finds out at once who holds the lock; the
#: second is for a lock that was freed meanwhile, and, on MariaDB, for an object's row that is just being written.
_PATIENCE = (0, 1)

#: The ids of the operations that hold locks for the code that runs here.
HELD: ContextVar[frozenset[uuid.UUID]] = ContextVar("django_task_safety_locks", default=frozenset())


def take(obj: models.Model, name: str, lease: float) -> AbstractOperation:
    """Write the row, or say who has it; raises as `locks.Lock.acquire` does."""
    asked = _asked(obj, name, lease)
    for asked.waits in _PATIENCE:
        if ledger.enqueue([asked]):
            _keep_alive(asked, lease)
            return asked
        conflicts.look(asked)
    # Whoever has it has not committed yet, so there is no row to be seen.
    unseen = new_operation(
        **{"task": conflicts.LOCK, "lock": name, "worker": "a transaction that is not committed yet"},
        **{"state": State.RUNNING, "created_at": table.now(), **Identity.stored(asked).columns},
    )
    raise conflicts.locked([unseen], f"takes no other operation that locks it ({name!r})")


def _asked(obj: models.Model, name: str, lease: float) -> AbstractOperation:
    identity = Identity.of(obj)
    protects = "delete" in getattr(obj, "lock_blocks", {"delete"})
    operation = new_operation(
        **{"id": ids.new(), "task": conflicts.LOCK, "state": State.RUNNING, "key": name},
        **{**identity.columns, "on_delete": PROTECT if protects else KEEP},
        **{"lock": name, "lock_slot": slot(identity, name), "token": uuid.uuid4(), "worker": worker_id.me()},
        **{"attempt": 1, "max_attempts": 1, "retention": KEPT},
        **{"created_at": Now(), "available_at": Now(), "started_at": Now(), "due_at": After(_first_lease(lease))},
    )
    operation.subject_row = subject_lock.subject_row_of(operation, type(obj))
    return operation


def _first_lease(lease: float) -> float:
    """In a transaction the lease is renewed only after its commit, so it must last until then."""
    return max(lease, LONGEST_TRANSACTION) if table.connection().in_atomic_block else lease


def _keep_alive(operation: AbstractOperation, lease: float) -> None:
    """Renew the lease from now on, or from the commit on: before that nobody sees the row."""
    if not table.connection().in_atomic_block:
        heartbeat.start(operation.pk, lease)
        return

    def begin() -> None:
        if operation.state == State.RUNNING:  # not given back yet
            heartbeat.start(operation.pk, lease)
            schedule.renew([operation.pk], operation.worker, lease)

    transaction.on_commit(begin, using=conf().DATABASE, robust=True)


def release(operation: AbstractOperation) -> bool:
    """End the lock if it is still its own; from here on its lease is not renewed any more."""
    try:
        return ledger.finish(operation, State.SUCCEEDED)
    finally:
        heartbeat.stop(operation.pk)  # also where the database does not answer: then it ends with its lease


def locks_on(model: type[models.Model], pks: Sequence[Any], database: str, name: str | None = None) -> OperationRows:
    """Return the pending operations that hold a lock on one of the rows of a model, by code or by tasks."""
    root = root_model(model)
    texts = [pk_text(root, pk) for pk in pks]
    found = table.about(root._meta.label_lower, texts, database).pending().exclude(conflicts.LAPSED)
    found = found.filter(lock_slot__isnull=False)
    return found if name is None else found.filter(lock=name)


@contextmanager
def unlocked(model: type[models.Model], pks: Sequence[Any], using: str, database: str) -> Iterator[None]:
    """Run the block in a transaction in which nobody else holds a lock on one of the rows, nor takes one. Raises
    `ObjectLocked` if somebody does; without waiting for whoever writes a row.

    Args:
        pks: The rows' keys in the table of the model's root model.
        using: The alias through which they are written.
        database: That of the objects' identities; another one where ``using`` is a replica's.
    """
    _refuse(model, pks, database)
    with transaction.atomic(using=using):
        for chunk in chunks(pks, chunk_size(using)):
            rows = root_model(model)._base_manager.using(using).filter(pk__in=chunk)
            list(rows.order_by("pk").select_for_update().values_list("pk"))
        _refuse(model, pks, database)
        yield


def _refuse(model: type[models.Model], pks: Sequence[Any], database: str) -> None:
    mine = set(HELD.get())
    if running := current_operation():
        mine.add(running.pk)
    for chunk in chunks(pks, chunk_size(database, conf().DATABASE)):
        if others := list(locks_on(model, chunk, database).exclude(pk__in=mine)[: conflicts.LISTED]):
            raise conflicts.locked(others, "cannot be saved")
