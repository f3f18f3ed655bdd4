"""The safe task behind each of Django's tasks: it has the name of its function, and the options of whoever gave some.

A task is made when it is first needed: when it is enqueued, when a worker starts, or when somebody looks for all tasks.
By then the decorator above Django's, which comes later than Django's own, has said its options.
"""

import dataclasses
import functools
import inspect
import logging
from collections.abc import Mapping
from typing import Any

from celery import current_app

from django_task_safety import registry
from django_task_safety.backends import results
from django_task_safety.decorators import idempotent_task, safe_task
from django_task_safety.errors import TaskSafetyError
from django_task_safety.options import IDEMPOTENT_OPTIONS, TaskOptions

logger = logging.getLogger("django_task_safety")

#: Those that were declared, by name, with the options of their backend.
_declared: dict[str, tuple[Any, Mapping[str, Any]]] = {}


def declare(task: Any, options: Mapping[str, Any]) -> None:
    """Note one of Django's tasks, and the options that its backend's settings have for it."""
    name = task.module_path
    if name not in _declared:
        _declared[name] = task, options
        if task.run_after is not None:  # which is of this call alone
            _declared[name] = dataclasses.replace(task, run_after=None), options
        registry.make_later(make_all)


def make_all() -> None:
    """Make the safe tasks of all that were declared; one that cannot be made holds up no other."""
    for name, (task, _) in list(_declared.items()):
        try:
            safe_task_of(task)
        except TaskSafetyError as exc:
            logger.error("the task %s cannot run: %s", name, exc)


def declared(name: str) -> Any:
    """Return Django's task of that name; None where none was declared in this process."""
    return _declared.get(name, (None, None))[0]


def safe_task_of(task: Any) -> TaskOptions:
    """Return the safe task that runs one of Django's.

    Raises:
        InvalidOption: For options that cannot work.
        InvalidTask: Where its name is taken by another task.
    """
    name = task.module_path
    found = current_app.tasks.get(name)
    if isinstance(found, TaskOptions):
        return found
    _, options = _declared[name]
    stacked = registry.stacked.get(name)
    options = {**options, **(stacked.options if stacked else {})}
    idempotent = stacked.idempotent if stacked else not set(IDEMPOTENT_OPTIONS).isdisjoint(options)
    decorate: Any = idempotent_task if idempotent else safe_task
    made: TaskOptions = decorate(name=name, **options)(_body(task))._get_current_object()
    return made


def _body(task: Any) -> Any:
    """Return what the worker calls: Django's task, with its context where it takes one."""

    @functools.wraps(task.func)
    def body(*args: Any, **kwargs: Any) -> Any:
        with results.running(task, args, kwargs) as context:
            return task.call(*context, *args, **kwargs)

    signature = inspect.signature(task.func)
    if task.takes_context:
        signature = signature.replace(parameters=list(signature.parameters.values())[1:])
    body.__signature__ = signature  # type: ignore[attr-defined]
    return body
