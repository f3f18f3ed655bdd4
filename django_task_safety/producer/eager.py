"""``.apply()`` and eager mode: the whole protocol in this process, without a broker and without waiting."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from celery import Task, states
from celery.result import EagerResult

from django_task_safety.ledger import schedule, table
from django_task_safety.options import TaskOptions
from django_task_safety.producer import call_options, enqueue, header
from django_task_safety.producer.call import Call, make_call
from django_task_safety.record import AbstractOperation, State
from django_task_safety.values import codec
from django_task_safety.values.clock import After

_OURS = ("task_id", "countdown", "eta", "headers", "retries", "throw")


def run(
    task: TaskOptions, apply: Callable[..., Any], call: Call, operation: AbstractOperation, options: dict[str, Any]
) -> Any:
    """Run a call's operation with Celery's own ``apply``, again as long as it asks for a retry.

    Args:
        apply: Celery's ``Task.apply``, bound to the task.
        operation: The row that answers for it; where that is not the call's own, its arguments are run.

    Returns:
        Celery's ``EagerResult``.
    """
    throw = options.get("throw")
    known = {} if operation.pk == call.operation.pk else {"rev": -1}
    headers = {**(options.get("headers") or {}), header.HEADER: {"op": str(operation.pk), **known}}
    passed = {name: value for name, value in options.items() if name not in _OURS}
    task_id = call_options.celery_id(operation.pk, call.options)
    while True:
        schedule.make_due(operation.pk)
        result = apply(tuple(call.args), dict(call.kwargs), task_id=task_id, throw=False, headers=headers, **passed)
        if result.state != states.RETRY:
            if not (task.app.conf.task_always_eager and _newer_waits(task, operation)):
                break
            headers[header.HEADER]["rev"] = -1
    if throw if throw is not None else task.app.conf.task_eager_propagates:
        _throw(result)
    return result


def enqueue_call(task: TaskOptions, call: Call) -> AbstractOperation:
    """Enqueue a call, and run its operation in eager mode; return the operation."""
    if not task.app.conf.task_always_eager:
        return enqueue.enqueue(task, call).operation
    operation = enqueue.enqueue(task, call, publishing=False).operation
    run(task, partial(Task.apply, task), call, operation, {"headers": call.options.get("headers")})
    operation.refresh_from_db()
    return operation


def run_again(task: TaskOptions, operation: AbstractOperation) -> None:
    """Run an operation that was queued again, with the arguments in its row."""
    args, kwargs = codec.loads(operation.payload, task.app)
    call = make_call(task, args, kwargs, {})
    run(task, partial(Task.apply, task), call, operation, {})


def _throw(result: EagerResult[Any]) -> None:
    """Raise the exception of a failed task, as Celery's ``apply`` does.

    Not by the result's own ``maybe_throw()``, which fails where tblib is installed.
    """
    if result.state in states.PROPAGATE_STATES:
        raise result.result if isinstance(result.result, BaseException) else Exception(result.result)


def _newer_waits(task: TaskOptions, operation: AbstractOperation) -> bool:
    """Return whether somebody asked for newer work while it ran: there may be no worker to do that."""
    queued = table.by_id(operation.pk).filter(task=task.name, state=State.QUEUED)
    return queued.filter(available_at__lte=After(1.0)).exists()
