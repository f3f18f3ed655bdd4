"""Checks of options of tasks that cannot keep what they promise."""

import re
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.db import models
from model_utils.models import SoftDeletableModel

from django_task_safety.checks.findings import Finding, about, warning
from django_task_safety.checks.project import Project
from django_task_safety.objects.relation import is_watched
from django_task_safety.options import KEEP, PROTECT
from django_task_safety.producer.signature import signature_of
from django_task_safety.values.annotations import resolved, unresolved


@about("task_safety.W005", "task_safety.W006")
def check_policies(project: Project) -> Iterator[Finding]:
    """Tasks that keep or protect objects have objects that can be kept and protected.

    Looks at the annotation of the parameter that is the object, where there is one.
    """
    for task in project.safe_tasks:
        if (model := _model_of(task)) is not None:
            yield from _check_policy(task, model)


def _check_policy(task: Any, model: type[models.Model]) -> Iterator[Finding]:
    if task.on_delete == KEEP and not issubclass(model, SoftDeletableModel):
        yield warning(
            f"Task {task.name} has on_delete=KEEP, but a {model._meta.label} that is deleted is gone: the "
            "task is cancelled all the same.",
            f"Derive {model.__name__} from SoftDeleteModel, or use another on_delete.",
            "task_safety.W005",
        )
    if task.on_delete == PROTECT and not is_watched(model):
        yield warning(
            f"Task {task.name} has on_delete=PROTECT, but deleting a {model._meta.label} looks at no "
            "operations, so its calls are refused.",
            f"Derive {model.__name__} from PendingOperationsModel, or call watch({model.__name__}).",
            "task_safety.W006",
        )


@about("task_safety.W009")
def check_keys(project: Project) -> Iterator[Finding]:
    """Tasks with ``match`` or ``version`` say what their key is."""
    for task in project.safe_tasks:
        for option in ("match", "version"):
            if task.idempotent and task.key is None and getattr(task, option) is not None:
                yield warning(
                    f"Task {task.name} has {option}={getattr(task, option)!r}, but all its arguments are the key, so "
                    "that it never differs for the same key.",
                    "Name with key= what makes two calls the same work.",
                    "task_safety.W009",
                )


@about("task_safety.W011")
def check_annotations(project: Project) -> Iterator[Finding]:
    """Annotations that seem to name a model can be resolved where tasks run."""
    models_by_name = {model.__name__ for model in apps.get_models()}
    for task in project.safe_tasks:
        for parameter in signature_of(task).parameters.values():
            if isinstance(parameter.annotation, type):
                continue
            text = unresolved(task.body, parameter)
            if models_by_name.intersection(re.findall(r"\w+", text)):
                yield warning(
                    f"Task {task.name} has the annotation {text!r} of {parameter.name!r}, which names nothing where "
                    "the task runs, so that a primary key is not taken for an object.",
                    "Import the model outside of TYPE_CHECKING, at the top of the task's module.",
                    "task_safety.W011",
                )


def _model_of(task: Any) -> type[models.Model] | None:
    """Return the model of the task's object, where an annotation says so."""
    parameters = signature_of(task).parameters
    names = [task.subject] if task.subject else list(parameters)
    found = (resolved(task.body, parameters[name]) for name in names if name in parameters)
    concrete = (hint for hint in found if isinstance(hint, type) and issubclass(hint, models.Model))
    model = next(concrete, None)
    return None if model is None or model._meta.abstract else model
