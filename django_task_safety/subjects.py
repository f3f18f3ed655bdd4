"""Which object an operation is about: one identity per row, however the instance was reached."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.apps import apps
from django.db import models

from django_task_safety.errors import InvalidArguments
from django_task_safety.references import Reference


def root_model(model: type[models.Model]) -> type[models.Model]:
    """Return the model whose table holds the object's identity: past proxies, and up multi-table inheritance."""
    concrete = model._meta.concrete_model or model
    parents = concrete._meta.parents
    return root_model(next(iter(parents))) if parents else concrete


def subject_of(subject: models.Model | Reference) -> tuple[str, str]:
    """Return the label of the root model and the primary key as text.

    Raises:
        InvalidArguments: If the instance was never saved.
    """
    reference = subject if isinstance(subject, Reference) else Reference.to(subject)
    return root_model(apps.get_model(reference.label))._meta.label_lower, reference.pk


def load(label: str, pk: str) -> models.Model | None:
    """Return the object, or None when it, or its model, does not exist."""
    if not label:
        return None
    try:
        model = apps.get_model(label)
    except LookupError:
        return None
    found: models.Model | None = model._base_manager.filter(pk=pk).first()
    return found


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    """Yield the arguments, those of ``*args`` and ``**kwargs`` parameters one by one."""
    for value in values:
        if isinstance(value, tuple):
            yield from value
        elif isinstance(value, dict):
            yield from value.values()
        else:
            yield value


def pick_subject(name: str | None, arguments: Mapping[str, Any]) -> Reference | None:
    """Return the argument that is the task's object: the named one, or else the first model instance.

    Raises:
        InvalidArguments: If the named one is not a model instance.
    """
    if name is None:
        return next((value for value in _flat(arguments.values()) if isinstance(value, Reference)), None)
    value = arguments.get(name)
    if value is not None and not isinstance(value, Reference):
        raise InvalidArguments(f"The subject parameter {name!r} must be a model instance, not {value!r:.80}.")
    return value
