"""Locks on objects, held by blocks of code: each is an operation's row; one statement takes it, one gives it back."""

from __future__ import annotations

import dataclasses
import logging
import os
import random
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import models

from django_task_safety.conf import conf, seconds
from django_task_safety.errors import InvalidOption, LockLost, ObjectLocked, TaskSafetyError
from django_task_safety.values import codec
from django_task_safety.values.identity import Identity

if TYPE_CHECKING:
    from django_task_safety.record import AbstractOperation

logger = logging.getLogger("django_task_safety")

Duration = float | timedelta

#: Seconds between two looks at a lock that another one holds: at first, and at most.
_PAUSE, _PAUSE_MAX = 0.02, 0.5


@dataclasses.dataclass(slots=True, eq=False)
class Lock:
    """A named, exclusive lock on an object, to be used in a ``with`` statement or by `acquire` and `release`.

    It is a lease that is renewed while this process lives; where the process dies, it ends by itself.
    In a transaction it is taken, and given back, when that commits; until then nobody else gets it either.
    """

    obj: models.Model
    name: str = "lock"
    wait: Duration = 0
    lease: Duration | None = None
    #: The row, while the lock is held.
    operation: AbstractOperation | None = dataclasses.field(default=None, init=False)
    _pid: int = dataclasses.field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        if not codec.is_name(self.name):
            raise InvalidOption(f"A lock's name is a text of up to 255 characters, without NUL, not {self.name!r:.80}.")
        try:
            self.lease = conf().LEASE if self.lease is None else seconds(self.lease)
            self.wait = seconds(self.wait) if self.wait else 0.0
        except ValueError as exc:
            raise InvalidOption(f"The lease of a lock, and the time to wait for it, is {exc}.") from None

    def acquire(self) -> AbstractOperation:
        """Take the lock: one statement where it is free.

        Returns:
            The operation that holds it; its ``check_cancelled()`` raises when the lock was lost.

        Raises:
            ObjectLocked: If another one, in this process or elsewhere, still holds it after ``wait`` seconds.
            ObjectGone: If the object does not exist any more, or is removed.
            InvalidArguments: If the object was never saved.
        """
        from django_task_safety.locking import lock_rows

        if self.operation is not None:
            raise TaskSafetyError(f"This lock ({self.name!r} on {self.obj!r}) is already held; make another one.")
        assert isinstance(self.lease, float)
        assert isinstance(self.wait, float)
        end = time.monotonic() + self.wait
        pause = _PAUSE
        while True:
            try:
                self.operation = lock_rows.take(self.obj, self.name, self.lease)
            except ObjectLocked:
                left = end - time.monotonic()
                if left <= 0:
                    raise
                # The holder does not know who waits; the jitter keeps many from looking all at once.
                time.sleep(min(left, pause * random.uniform(0.5, 1.0)))
                pause = min(_PAUSE_MAX, pause * 2)
            else:
                self._pid = os.getpid()
                lock_rows.HELD.set(lock_rows.HELD.get() | {self.operation.pk})
                return self.operation

    def release(self) -> None:
        """Give the lock back: one statement, which only the owner's token can do.

        Raises:
            LockLost: If the lease had run out, or somebody cancelled the lock, before.
            TaskSafetyError: If it is not held.
        """
        from django_task_safety.locking import lock_rows

        operation = self.operation
        if operation is None:
            raise TaskSafetyError(f"The lock {self.name!r} on {self.obj!r} is not held; it was released before.")
        if self._pid != os.getpid():
            # A child that was forked inside the block leaves it too; the lock is its parent's.
            self.operation = None
            return
        released = lock_rows.release(operation)
        # Not before: where the database did not answer, it can be released once more.
        self.operation = None
        lock_rows.HELD.set(lock_rows.HELD.get() - {operation.pk})
        if not released:
            raise LockLost(
                f"The lock {self.name!r} was lost before it was released: its lease ran out, or it was cancelled. "
                "Another one may have held it meanwhile.",
                operation,
            )

    def __enter__(self) -> AbstractOperation:
        return self.acquire()

    def __exit__(self, kind: Any, exc: BaseException | None, traceback: Any) -> None:
        try:
            self.release()
        except LockLost as lost:
            if exc is None:
                raise
            logger.warning("%s", lost)
        except Exception:
            # A transaction that the block broke takes the lock with it.
            if exc is None:
                raise
            logger.warning("the lock %r could not be released; it ends with its lease", self.name, exc_info=True)


@contextmanager
def lock_all(
    objects: Iterable[models.Model], name: str = "lock", *, wait: Duration = 0, lease: Duration | None = None
) -> Iterator[list[AbstractOperation]]:
    """Hold the lock ``name`` on several objects during the block.

    They are taken in the order of the objects' identities, whatever the order here, so that two callers cannot wait for
    each other; where one cannot be had, none is held.

    Args:
        objects: Saved instances, of one model or several; one that is given twice counts once.
        name: The lock's name.
        wait: Seconds to wait for all of them together.
        lease: As for one lock.

    Raises:
        ObjectLocked, ObjectGone, InvalidArguments, LockLost: As one lock does.
    """
    ordered: dict[Identity, models.Model] = {Identity.of(obj): obj for obj in objects}
    end = time.monotonic() + Lock(models.Model, name, wait, lease).wait  # type: ignore[arg-type, operator]
    with ExitStack() as stack:
        yield [
            stack.enter_context(Lock(obj, name, max(0.0, end - time.monotonic()) if wait else 0, lease))
            for _, obj in sorted(ordered.items(), key=lambda item: item[0])
        ]
