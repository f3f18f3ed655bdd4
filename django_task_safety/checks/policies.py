"""Django system checks: options of tasks that cannot keep what they promise."""

import contextlib
import inspect
import re
import typing
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core import checks
from django.db import models

from django_task_safety.objects.relation import is_watched
from django_task_safety.options import KEEP, PROTECT
from django_task_safety.producer.signature import signature_of
from django_task_safety.registry import import_tasks, safe_tasks
from django_task_safety.values.annotations import unresolved


def check_policies(**kwargs: Any) -> list[checks.CheckMessage]:
    """Tasks that keep or protect objects have objects that can be kept (W005) and protected (W006).

    Looks at the annotation of the parameter that is the object, where there is one.
    """
    problems: list[checks.CheckMessage] = []
    for task in _safe_tasks():
        if (model := _model_of(task)) is not None:
            problems += _check_policy(task, model)
    return problems


def _check_policy(task: Any, model: type[models.Model]) -> Iterator[checks.CheckMessage]:
    from model_utils.models import SoftDeletableModel  # it has models, which need the apps

    if task.on_delete == KEEP and not issubclass(model, SoftDeletableModel):
        yield checks.Warning(
            f"Task {task.name} has on_delete=KEEP, but a {model._meta.label} that is deleted is gone: the "
            "task is cancelled all the same.",
            hint=f"Derive {model.__name__} from SoftDeleteModel, or use another on_delete.",
            id="task_safety.W005",
        )
    if task.on_delete == PROTECT and not is_watched(model):
        yield checks.Warning(
            f"Task {task.name} has on_delete=PROTECT, but deleting a {model._meta.label} looks at no "
            "operations, so its calls are refused.",
            hint=f"Derive {model.__name__} from PendingOperationsModel, or call watch({model.__name__}).",
            id="task_safety.W006",
        )


def check_keys(**kwargs: Any) -> list[checks.CheckMessage]:
    """Tasks with ``match`` or ``version`` say what their key is (W009)."""
    return [
        checks.Warning(
            f"Task {task.name} has {option}={getattr(task, option)!r}, but all its arguments are the key, so that it "
            "never differs for the same key.",
            hint="Name with key= what makes two calls the same work.",
            id="task_safety.W009",
        )
        for task in _safe_tasks()
        for option in ("match", "version")
        if task.idempotent and task.key is None and getattr(task, option) is not None
    ]


def check_annotations(**kwargs: Any) -> list[checks.CheckMessage]:
    """Annotations that seem to name a model can be resolved where tasks run (W011)."""
    models_by_name = {model.__name__ for model in apps.get_models()}
    return [
        checks.Warning(
            f"Task {task.name} has the annotation {text!r} of {parameter.name!r}, which names nothing where the "
            "task runs, so that a primary key is not taken for an object.",
            hint="Import the model outside of TYPE_CHECKING, at the top of the task's module.",
            id="task_safety.W011",
        )
        for task in _safe_tasks()
        for parameter in signature_of(task).parameters.values()
        if models_by_name.intersection(re.findall(r"\w+", text := unresolved(task.body, parameter)))
    ]


def _safe_tasks() -> Iterator[Any]:
    with contextlib.suppress(Exception):  # W003 says so, where it matters more
        import_tasks()
    yield from safe_tasks()


def _model_of(task: Any) -> type[models.Model] | None:
    """Return the model of the task's object, where an annotation says so."""
    try:
        hints = typing.get_type_hints(task.run)
    except Exception:  # an annotation that only a type checker can resolve
        return None
    names = [task.subject] if task.subject else list(inspect.signature(task.run).parameters)
    found = (hints.get(name) for name in names)
    concrete = (hint for hint in found if isinstance(hint, type) and issubclass(hint, models.Model))
    model = next(concrete, None)
    return None if model is None or model._meta.abstract else model
