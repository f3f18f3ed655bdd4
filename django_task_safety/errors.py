"""Every error this package raises. One root: `TaskSafetyError`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import IntegrityError, OperationalError
from django.db.models.deletion import Collector, ProtectedError
from django.urls import NoReverseMatch

if TYPE_CHECKING:
    from django.db.models import Model

    from django_task_safety.record import AbstractOperation


class TaskSafetyError(Exception):
    """Root of all errors of this package."""


class InvalidSetting(TaskSafetyError, ImproperlyConfigured):
    """A key or a value in ``settings.TASK_SAFETY`` is wrong."""


class InvalidOption(TaskSafetyError, TypeError, ValueError):
    """A task option or a calling option is unknown or has a value that cannot work."""


class InvalidArguments(TaskSafetyError, TypeError):
    """The arguments do not fit the task's signature, or an argument cannot be passed to a task."""


class InvalidPayload(TaskSafetyError, ValueError):
    """The arguments or the result cannot be serialised, or cannot be read back."""


class PayloadTooLarge(TaskSafetyError, ValueError):
    """The serialised arguments exceed the task's ``max_payload``."""


class InvalidKey(TaskSafetyError, ValueError):
    """The idempotency key could not be computed from the arguments."""


class NotCommitted(TaskSafetyError, RuntimeError):
    """A result is waited for inside the transaction that enqueued its operation, where it can never come."""


class ObjectGone(TaskSafetyError):
    """The object does not exist any more (or is soft-deleted)."""


class UrlsNotIncluded(TaskSafetyError, NoReverseMatch):
    """The address of a status page is asked for, but ``django_task_safety.urls`` is not in the project's URLs."""


class GuardImpossible(TaskSafetyError):
    """A migration's ``GuardDeletes`` cannot be applied to that model, or in that database."""


class OperationsPending(TaskSafetyError, CommandError):
    """A migration would drop the table of operations, and some of them are pending."""


class TransactionRolledBack(TaskSafetyError, OperationalError):
    """The database rolled back the whole open transaction, of which a call of this package was only a part: begin it
    anew. On MariaDB and MySQL with ``innodb_rollback_on_timeout``, or after a deadlock."""


class RestoreConflict(TaskSafetyError, IntegrityError):
    """What was removed cannot come back: a live row holds a value that must be unique. Nothing was restored."""


class RemovedExists(TaskSafetyError, IntegrityError):
    """A removed row holds a value that must be unique: restore it, or make the value unique among live rows only.

    Args:
        message: What happened and what to do.
        obj: The removed object, kept as ``.obj``.
    """

    def __init__(self, message: str, obj: Model) -> None:
        super().__init__(message)
        self.obj = obj


class OperationError(TaskSafetyError):
    """An error about one operation, which it carries as ``.operation``.

    Args:
        message: What happened and what to do. The operation's id is added to it.
        operation: The operation concerned.
    """

    def __init__(self, message: str, operation: AbstractOperation) -> None:
        self.message = message
        said = f"{message} [operation {operation.pk}, task {operation.task}, state {operation.state}]"
        # Not super(): that is ProtectedError, with other parameters, where an error is both.
        Exception.__init__(self, said)
        self.operation = operation

    def __reduce__(self) -> Any:
        return type(self), (self.message, self.operation)


class DuplicateOperation(OperationError):
    """An operation with the same key is pending and the task says ``on_duplicate="raise"``."""


class KeyReused(OperationError):
    """The key was used before with other values for the parameters named in ``match``."""


class OperationCancelled(OperationError):
    """The running operation was cancelled: stop, nothing it writes will be committed."""


class OperationSuperseded(OperationCancelled):
    """This attempt lost its lease and another one took over: stop, nothing it writes will be committed."""


class LockLost(OperationError):
    """A lock was not held any more when it was released: its lease ran out, or it was cancelled."""


class WorkerLost(OperationError):
    """The worker that ran the operation died, was killed, or stopped renewing its lease."""


class TimeLimitPassed(OperationError):
    """The attempt ran longer than the task's hard time limit."""


class ImplicitCommit(OperationError):
    """The body, or a compensation, sent a statement that committed its transaction (on MariaDB and MySQL TRUNCATE, or
    any DDL; on SQLite a script)."""


class Unpublishable(OperationError):
    """No message can be made of the operation as it is stored."""


class OperationFailed(OperationError):
    """Stands in for the exception of a failed operation when its own class cannot be rebuilt."""


class ObjectLocked(OperationError, ProtectedError):
    """The object is protected by a pending operation or a held lock.

    It is also Django's ``ProtectedError``; ``protected_objects`` are the holding operations.
    """

    def __init__(
        self, message: str, operation: AbstractOperation, operations: Iterable[AbstractOperation] = ()
    ) -> None:
        self._holders = {operation, *operations}
        OperationError.__init__(self, message, operation)

    def __reduce__(self) -> Any:
        return type(self), (self.message, self.operation, self._holders)

    @property
    def protected_objects(self) -> set[Any]:  # type: ignore[override]
        """The operations that hold the object."""
        # The collector catches a refusal that came through a cascade, asks for its objects, and raises a bare
        # ProtectedError with them, which would not say who holds what. A traceback begins where the error was caught.
        caught = self.__traceback__
        if caught is not None and caught.tb_frame.f_globals.get("__name__") == Collector.__module__:
            raise self
        return self._holders


def did_you_mean(name: str, candidates: Iterable[str], cutoff: float = 0.6) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest candidate, or an empty string."""
    close = difflib.get_close_matches(name, list(candidates), n=1, cutoff=cutoff)
    return f" Did you mean {close[0]!r}?" if close else ""
