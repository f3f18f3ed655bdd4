"""Every error this package raises. One root: `TaskSafetyError`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.db.models.deletion import ProtectedError

if TYPE_CHECKING:
    from django_task_safety.models import Operation


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


class ObjectGone(TaskSafetyError):
    """The object does not exist any more (or is soft-deleted)."""


class OperationError(TaskSafetyError):
    """An error about one operation, which it carries as ``.operation``.

    Args:
        message: What happened and what to do. The operation's id is added to it.
        operation: The operation concerned.
    """

    def __init__(self, message: str, operation: Operation) -> None:
        self.message = message
        super().__init__(f"{message} [operation {operation.pk}, task {operation.task}, state {operation.state}]")
        self.operation = operation


class DuplicateOperation(OperationError):
    """An operation with the same key is pending and the task says ``on_duplicate="raise"``."""


class KeyReused(OperationError):
    """The key was used before with other values for the parameters named in ``match``."""


class OperationCancelled(OperationError):
    """The running operation was cancelled: stop, nothing it writes will be committed."""


class OperationSuperseded(OperationCancelled):
    """This attempt lost its lease and another one took over: stop, nothing it writes will be committed."""


class WorkerLost(OperationError):
    """The worker that ran the operation died, was killed, or stopped renewing its lease."""


class TimeLimitPassed(OperationError):
    """The attempt ran longer than the task's hard time limit."""


class Unpublishable(OperationError):
    """No message can be made of the operation as it is stored."""


class OperationFailed(OperationError):
    """Stands in for the exception of a failed operation when its own class cannot be rebuilt."""


class ObjectLocked(OperationError, ProtectedError):
    """The object is protected by a pending operation or a held lock.

    It is also Django's ``ProtectedError``; ``protected_objects`` are the holding operations.
    """

    def __init__(self, message: str, operation: Operation, operations: Iterable[Operation] = ()) -> None:
        OperationError.__init__(self, message, operation)
        self.protected_objects: set[Any] = {operation, *operations}


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest candidate, or an empty string."""
    close = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""
