"""Where soft-deletable models keep that a row is removed, and how they hang together."""

from collections.abc import Iterable
from typing import Any

from django.db import models
from django.db.models.deletion import CASCADE
from model_utils.models import SoftDeletableModel

from django_task_safety.values.identity import pk_of

#: The columns that say that, when and with what a row was removed, as they are in a live one.
LIVE: dict[str, Any] = {"is_removed": False, "removed_at": None, "removal": None}


def is_soft(model: type[models.Model] | None) -> bool:
    """Return whether rows of the model are removed softly."""
    return isinstance(model, type) and issubclass(model, SoftDeletableModel)


def holder(model: type[models.Model]) -> type[models.Model]:
    """Return the model whose table has ``is_removed``: with multi-table inheritance, perhaps a parent."""
    found: type[models.Model] = model._meta.get_field("is_removed").model
    return found


def cascades(on_delete: Any) -> bool:
    """Return whether it is Django's CASCADE, or the database's own."""
    return getattr(on_delete, "forced_collector", on_delete) is CASCADE


def by_class(objs: Iterable[models.Model]) -> dict[type[models.Model], list[models.Model]]:
    """Return the objects by their classes, in the order in which they are met."""
    found: dict[type[models.Model], list[models.Model]] = {}
    for obj in objs:
        found.setdefault(type(obj), []).append(obj)
    return found


def by_holder(objs: Iterable[models.Model]) -> dict[type[models.Model], list[Any]]:
    """Return the primary keys in each table that has ``is_removed``: tables and keys in an order that is always so."""
    found: dict[type[models.Model], set[Any]] = {}
    for obj in objs:
        model = holder(type(obj))
        found.setdefault(model, set()).add(key_in(model, obj))
    return {model: sorted(found[model]) for model in sorted(found, key=lambda model: model._meta.label)}


def key_in(model: type[models.Model], obj: models.Model) -> Any:
    """Return the primary key of the object in the table of ``model``, one of its parents or its own."""
    return getattr(obj, pk_of(model).attname)


def rows(model: type[models.Model], using: str) -> models.QuerySet[Any]:
    """Return every row of the model, in no order, whatever its managers leave out."""
    return models.QuerySet(model, using=using).order_by()
