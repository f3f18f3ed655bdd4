"""Who waits for a call: the canvas that it is part of, the callbacks of its message, the task that made it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from celery.backends.rpc import RPCBackend

from django_task_safety.context import current_attempt
from django_task_safety.options import TaskOptions
from django_task_safety.producer import call_options

if TYPE_CHECKING:
    from django_task_safety.record import AbstractOperation

#: Where a request keeps for which work its callbacks, chain and chord are called.
_WORK = "task_safety_work"
#: Precedes the caller of a chord's body: the header, and whichever of its tasks ended last.
LAST_OF_CHORD = "chord "
_UNLOCK = "celery.chord_unlock"


def with_lineage(task: TaskOptions, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options with the parent and the caller, which Celery reads when it publishes: that may be later."""
    if isinstance(task.backend, RPCBackend):
        options = {"reply_to": task.app.thread_oid, **call_options.given(options)}
    parent = task.app.current_worker_task
    if parent is None or parent.request is None or parent.request.called_directly:
        return options
    lineage: dict[str, Any] = {"root_id": parent.request.root_id or parent.request.id, "parent_id": parent.request.id}
    if task.app.conf.task_inherit_parent_priority:
        lineage["priority"] = (parent.request.delivery_info or {}).get("priority")
    if is_continuation(task, options):
        lineage["caller"] = _caller(parent, options)
    return {**lineage, **call_options.given(options)}


def speaks_for(task: TaskOptions, operation: AbstractOperation) -> None:
    """Note that what the worker calls after this delivery is called for the work of that operation."""
    vars(task.request)[_WORK] = operation.idempotency_key


def _caller(parent: Any, options: dict[str, Any]) -> str:
    """Return for which work of the task ``parent`` a worker makes a call for a chain, a callback or a chord."""
    work = str(vars(parent.request).get(_WORK, parent.request.id))
    # Celery names itself as the parent to all but the bodies of chords. A task that waits for a header is the only one.
    by_any = options.get("parent_id") != parent.request.id and parent.name != _UNLOCK
    return f"{LAST_OF_CHORD}{parent.request.group} {work}" if by_any else work


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


def has_canvas(request: Any) -> bool:
    """Return whether the message carries callbacks, errbacks, a chain or a chord."""
    return call_options.has_canvas(waiting(request))


def waiting(request: Any) -> dict[str, Any]:
    """Return the options that say who waits for the outcome of the message."""
    names = {"link": "callbacks", "link_error": "errbacks", "chain": "chain", "chord": "chord"}
    return {option: getattr(request, name) for option, name in names.items()}


def routing(request: Any) -> dict[str, Any]:
    """Return the options by which the message came, to publish one like it."""
    options = {
        name: getattr(request, name, None)
        for name in ("root_id", "parent_id", "group_index", "shadow", "reply_to", "replaced_task_nesting")
    }
    options["group_id"] = request.group
    if request.timelimit and any(request.timelimit):
        options["time_limit"], options["soft_time_limit"] = request.timelimit
    delivery = request.delivery_info or {}
    options["priority"] = delivery.get("priority")
    exchange, key = delivery.get("exchange"), delivery.get("routing_key")
    options.update({"queue": key} if not exchange else {"exchange": exchange, "routing_key": key})
    return {name: value for name, value in options.items() if value is not None}


def leave_to_newer(task: TaskOptions) -> None:
    """Tell nobody of this run: who waits hears of the newer work that follows it in the same row.

    Result backends would keep the success that they are told first. With RPC the caller of this run is told, for the
    newer work's caller is another one.
    """
    request: Any = task.request
    request.callbacks = request.errbacks = request.chain = request.chord = None
    request.ignore_result = request.ignore_result or not isinstance(task.backend, RPCBackend)
