"""What is to be known of a call before it is made: how its arguments were given, and by which task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from celery.backends.rpc import RPCBackend

from django_task_safety.context import current_attempt
from django_task_safety.errors import InvalidArguments

if TYPE_CHECKING:
    from django_task_safety.options import TaskOptions


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that say something."""
    return {name: value for name, value in options.items() if value is not None}


def split(one: Sequence[Any] | Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Return one of ``enqueue_many``'s calls as args and kwargs.

    Raises:
        InvalidArguments: If it is neither a sequence of the one nor a mapping of the other.
    """
    if isinstance(one, Mapping):
        return (), one
    if isinstance(one, Sequence) and not isinstance(one, str | bytes):
        return one, {}
    raise InvalidArguments(
        f"enqueue_many takes tuples of positional arguments or dicts of keyword arguments, not {one!r:.80}."
    )


def with_lineage(task: TaskOptions, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options with the parent and the caller, which Celery reads when it publishes: that may be later."""
    if isinstance(task.backend, RPCBackend):
        options = {"reply_to": task.app.thread_oid, **given(options)}
    parent = task.app.current_worker_task
    if parent is None or parent.request is None or parent.request.called_directly:
        return options
    root = parent.request.root_id or parent.request.id
    return {"root_id": root, "parent_id": parent.request.id, **given(options)}


def note_child(task: TaskOptions, result: Any, options: Mapping[str, Any]) -> None:
    """Note a call in the trail of the task that makes it, as Celery does."""
    result.ignored = options.get("ignore_result", task.ignore_result)
    parent = task.app.current_worker_task
    if parent is not None and options.get("add_to_parent", True):
        parent.add_trail(result)


def is_continuation(task: TaskOptions, options: Mapping[str, Any]) -> bool:
    """Return whether a worker makes the call for a chain, a callback or a chord that goes on: nobody is there to whom
    an error would be of use. The bodies of plain tasks look the same, where they call a canvas."""
    outside = current_attempt() is None and task.app.current_worker_task is not None
    return outside and options.get("task_id") is not None
