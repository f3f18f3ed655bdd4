"""What a second call with the same key gets: the one place for that decision."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from django_task_safety.errors import DuplicateOperation, KeyReused
from django_task_safety.record import AbstractOperation, State

if TYPE_CHECKING:
    from django_task_safety.options import TaskOptions


class Resolution(enum.Enum):
    """What becomes of a call."""

    #: It has a row of its own.
    CREATED = enum.auto()
    #: Another row answers for it, pending or ended.
    DUPLICATE = enum.auto()
    #: It gave a pending row newer arguments.
    REPLACED = enum.auto()
    #: It queued an ended row again, as the same work.
    RERUN = enum.auto()
    #: It queued an ended row again, as newer work.
    RENEWED = enum.auto()
    #: It goes on in the row of an operation that replaced itself by a canvas of which the call is the last.
    CONTINUED = enum.auto()


def decide(task: TaskOptions, first: AbstractOperation, second: AbstractOperation) -> Resolution:
    """Return what the call that asks for ``second`` gets, where ``first`` has the same key.

    Raises:
        KeyReused: If the parameters named in ``match`` differ.
        DuplicateOperation: If the first is pending and the task says ``on_duplicate="raise"``.
    """
    if first.match_digest != second.match_digest:
        raise KeyReused(
            f"The key {first.key!r} was used with other values for {', '.join(task.match or ())}. Use a new key for "
            "new work, or the same values to repeat the call",
            first,
        )
    if second.version is not None:
        newer = _by_version(task, first, second)
        if newer is not None:
            return newer
    if first.is_pending:
        return _while_pending(task, first)
    return _after_end(task, first)


def _by_version(task: TaskOptions, first: AbstractOperation, second: AbstractOperation) -> Resolution | None:
    assert second.version is not None
    if first.succeeded_version is not None and second.version <= first.succeeded_version:
        repeat = task.rerun == "always" and second.version == first.succeeded_version and not first.is_pending
        return Resolution.RENEWED if repeat else Resolution.DUPLICATE
    newer = first.version is None or second.version > first.version
    if first.is_pending:
        return Resolution.REPLACED if newer else None
    return Resolution.RENEWED if newer else None


def _while_pending(task: TaskOptions, first: AbstractOperation) -> Resolution:
    if task.on_duplicate == "raise":
        raise DuplicateOperation(
            f"An operation with the key {first.key!r} is pending. Wait for it to end, or cancel it.", first
        )
    return Resolution.REPLACED if task.on_duplicate == "replace" and task.version is None else Resolution.DUPLICATE


def _after_end(task: TaskOptions, first: AbstractOperation) -> Resolution:
    if task.rerun == "always" and first.state == State.SUCCEEDED:
        return Resolution.RENEWED
    if task.rerun != "never" and first.state != State.SUCCEEDED:
        return Resolution.RERUN
    return Resolution.DUPLICATE
