"""``.apply()`` and eager mode: the whole protocol in this process, without a broker and without waiting."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celery import states

from django_task_safety.calling import outbox
from django_task_safety.calling.calls import Call
from django_task_safety.models import Operation
from django_task_safety.storage import schedule

if TYPE_CHECKING:
    from django_task_safety.tasks import SafeTask

_OURS = ("task_id", "countdown", "eta", "headers", "retries", "throw")


def run(task: SafeTask, apply: Callable[..., Any], call: Call, operation: Operation, options: dict[str, Any]) -> Any:
    """Run a call's operation with Celery's own ``apply``, again as long as it asks for a retry.

    Args:
        task: The task.
        apply: Celery's ``Task.apply``, bound to it.
        call: The call.
        operation: The row that answers for it; where that is not the call's own, its arguments are run.
        options: Those of ``apply``.

    Returns:
        Celery's ``EagerResult``.
    """
    throw = options.get("throw")
    known = {} if operation.pk == call.operation.pk else {"rev": -1}
    headers = {**(options.get("headers") or {}), outbox.HEADER: {"op": str(operation.pk), **known}}
    passed = {name: value for name, value in options.items() if name not in _OURS}
    while True:
        schedule.hurry(operation.pk)
        result = apply(
            tuple(call.args), dict(call.kwargs), task_id=str(operation.pk), throw=False, headers=headers, **passed
        )
        if result.state != states.RETRY:
            break
    if throw if throw is not None else task.app.conf.task_eager_propagates:
        result.maybe_throw()
    return result
