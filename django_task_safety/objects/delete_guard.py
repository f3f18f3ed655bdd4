"""A delete, from Django's collector to cancelled operations, whichever way Django deletes the object.

    collected        Django's collector asks the `operations` relation of every model what goes with the objects that it
                     has collected, also when the admin only shows what would go. PROTECT or a held lock? Refuse.
                     In a transaction: lock the rows first, and look again.
    before_delete    ``pre_delete``: cancel what is to be cancelled, under the rows' locks
    after_delete     ``post_delete``: the rows are locked by the delete itself; look again, for what came in since

    soft_collecting  a soft delete has its own ending: it collects like the other,
    lock             locks the rows and looks,
    cancel           and cancels what goes with the objects

Whoever enqueues holds the object's row meanwhile (`subject_lock`), so that one of the two waits for the other.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.db import connections, models

from django_task_safety.ledger.enqueue import enqueued
from django_task_safety.objects.deletion import Deletion
from django_task_safety.options import CANCEL, KEEP

#: Where an instance keeps what its delete has found so far.
_DELETION = "_task_safety_deletion"

_soft_collecting: ContextVar[bool] = ContextVar("django_task_safety_soft_collecting", default=False)


def collected(objs: Sequence[models.Model], using: str) -> None:
    """A collector has found these objects of one model. Raises `ObjectLocked` if a pending operation or a held lock
    protects one of them."""
    deletion = Deletion.of(objs, using, removed=_soft_collecting.get())
    if deletion.removed or not connections[using].in_atomic_block:
        deletion.look()
    else:
        # So that a refusal comes now, while the caller's transaction can go on.
        deletion.lock()
    for obj in [] if deletion.removed else objs:
        obj.__dict__[_DELETION] = deletion


def before_delete(instance: models.Model, **kwargs: Any) -> None:
    """Receiver of ``pre_delete``: once for all that are deleted together, cancel under the rows' locks."""
    deletion: Deletion | None = instance.__dict__.get(_DELETION)
    if deletion is None or deletion.begun:
        return
    deletion.begun = True
    if deletion.here and not deletion.held and (deletion.policies or deletion.model._meta.parents):
        deletion.lock_rows()
    deletion.exempt()
    deletion.cancel()


def after_delete(instance: models.Model, **kwargs: Any) -> None:
    """Receiver of ``post_delete``: the rows are locked now, so look again. Raises `ObjectLocked` if something that
    protects came in before."""
    deletion: Deletion | None = instance.__dict__.pop(_DELETION, None)
    if deletion is None or deletion.ended:
        return
    deletion.ended = True
    # Invariant: looked at under the lock.
    # Where the rows were locked, only this transaction itself can have written more: another receiver, say.
    if deletion.here and not (deletion.held and deletion.enqueued == enqueued.get()):
        deletion.look()
        deletion.cancel()


@contextmanager
def soft_collecting() -> Iterator[None]:
    """Collecting inside the block is for a soft delete: it looks, and the caller does the rest."""
    token = _soft_collecting.set(True)
    try:
        yield
    finally:
        _soft_collecting.reset(token)


def lock(objs: Sequence[models.Model], using: str, before_waiting: Callable[[], object]) -> None:
    """Lock the rows of objects of one model until the end of the transaction, so that nothing comes in any more.

    Args:
        before_waiting: Called where somebody else has a row: to be refused at once by what hangs on it.

    Raises:
        ObjectLocked: If a pending operation or a held lock protects one of them.
    """
    for obj in objs:
        # Somebody may have looked what a hard delete would take along: the admin.
        obj.__dict__.pop(_DELETION, None)
    Deletion.of(objs, using, removed=True).lock(before_waiting)


def cancel(objs: Sequence[models.Model], using: str, *, removed: bool) -> None:
    """Cancel the pending operations that end with objects of one model; those with KEEP go on if it is ``removed``."""
    deletion = Deletion.of(objs, using, removed=removed)
    deletion.policies = {CANCEL, KEEP}
    deletion.cancel()
