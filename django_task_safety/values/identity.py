"""Which object an operation is about: one identity per row, however the instance was reached."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.apps import apps
from django.db import models

from django_task_safety.errors import InvalidArguments
from django_task_safety.values import keys
from django_task_safety.values.references import Reference


def root_model(model: type[models.Model]) -> type[models.Model]:
    """Return the model whose table holds the object's identity: past proxies, and up multi-table inheritance."""
    concrete = model._meta.concrete_model or model
    parents = concrete._meta.parents
    return root_model(next(iter(parents))) if parents else concrete


def roots(model: type[models.Model]) -> list[type[models.Model]]:
    """Return the models whose tables hold the object's identities: the root, and those of further parents."""
    concrete = model._meta.concrete_model or model
    ancestors = [parent for parent in concrete._meta.get_parent_list() if not parent._meta.parents]
    return ancestors or [concrete]


def check_identity(model: type[models.Model]) -> None:
    """Refuse a primary key whose text could differ between Python and the database.

    Raises:
        InvalidArguments: Unless it is a whole number, a UUID or a string.
    """
    field = pk_field(root_model(model))
    if not isinstance(field, models.IntegerField | models.UUIDField | models.CharField):
        raise InvalidArguments(
            f"{model._meta.label} has a {type(field).__name__} as its primary key; operations know objects by a whole "
            "number, a UUID or a string."
        )


def subject_of(subject: models.Model | Reference) -> tuple[str, str]:
    """Return the label of the root model and the primary key as text.

    Raises:
        InvalidArguments: If the instance was never saved.
    """
    reference = subject if isinstance(subject, Reference) else Reference.to(subject)
    root = root_model(apps.get_model(reference.label))
    return root._meta.label_lower, pk_text(root, reference.pk)


def pk_text(root: type[models.Model], pk: Any) -> str:
    """Return a root model's primary key as `Operation.subject_id` holds it: a UUID as 32 hexadecimal digits."""
    return uuid.UUID(str(pk)).hex if isinstance(pk_field(root), models.UUIDField) else str(pk)


def pk_of(model: type[models.Model]) -> models.Field[Any, Any]:
    """Return a model's primary key."""
    pk = model._meta.pk
    assert pk is not None
    return pk


def pk_field(model: type[models.Model]) -> models.Field[Any, Any]:
    """Return the field that says what a model's primary key is made of, also where that is a foreign key."""
    field: Any = model._meta.pk
    while field.remote_field is not None:
        field = field.target_field
    found: models.Field[Any, Any] = field
    return found


def slot(label: str, pk: str, name: str) -> str:
    """Return what at most one pending operation has: the digest of an object and the name of a lock on it."""
    return keys.digest(label, pk, name)


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
