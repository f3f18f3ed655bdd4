"""Unique values that removed rows go on holding, because their constraint does not ask whether a row is removed."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import DEFAULT_DB_ALIAS, IntegrityError, connections, models, transaction

from django_task_safety.errors import RemovedExists
from django_task_safety.soft_delete.rows import rows


def unique_including_removed(model: type[models.Model]) -> list[tuple[str, ...]]:
    """Return the fields of the model's own table, alone or together, that are unique among removed rows as well.

    The primary key is not among them, nor the link to a parent by multi-table inheritance.
    """
    meta = (model._meta.concrete_model or model)._meta
    links = set(meta.parents.values())
    own = [field for field in meta.local_concrete_fields if not field.primary_key and field not in links]
    constraints = [each for each in meta.constraints if isinstance(each, models.UniqueConstraint)]
    return [
        *((field.name,) for field in own if field.unique),
        *(tuple(names) for names in meta.unique_together),
        *(tuple(each.fields) for each in constraints if each.fields and each.condition is None),
    ]


def _everywhere(model: type[models.Model]) -> list[tuple[str, ...]]:
    """Return those of the model's own table and of its parents' tables, and the primary keys."""
    tables = [model, *model._meta.all_parents]
    keys = [one._meta.pk for one in tables if one._meta.pk and one._meta.pk not in one._meta.parents.values()]
    return [*((key.name,) for key in keys), *(names for one in tables for names in unique_including_removed(one))]


def validate(instance: models.Model, exclude: Collection[str]) -> None:
    """Raise ValidationError where a removed row holds a unique value of the instance: a form would not find it."""
    errors: dict[str, list[ValidationError]] = {}
    for names in _everywhere(type(instance)):
        obj = None if set(names) & set(exclude) else _removed(instance, names, instance._state.db or DEFAULT_DB_ALIAS)
        if obj is not None:
            where = names[0] if len(names) == 1 else NON_FIELD_ERRORS
            errors.setdefault(where, []).append(ValidationError(str(_explanation(obj, names)), code="unique"))
    if errors:
        raise ValidationError(errors)


@contextmanager
def explained(queryset: Any, values: Mapping[str, Any]) -> Iterator[None]:
    """Creating an object with these values inside the block says so where a removed row is in the way. Raises
    `RemovedExists` instead of Django's ``IntegrityError``."""
    model, using = queryset.model, queryset.db
    unique = _everywhere(model)
    # So that one can look after the refusal, and that an outer block can go on.
    guard = bool(unique) and connections[using].in_atomic_block
    try:
        with transaction.atomic(using=using) if guard else nullcontext():
            yield
    except IntegrityError as exc:
        for names in unique:
            obj = _removed(model(**values), names, using)
            if obj is not None:
                raise _explanation(obj, names) from exc
        raise


def _removed(instance: models.Model, names: tuple[str, ...], using: str) -> Any:
    """Return another row, a removed one, with the instance's values."""
    wanted = {name: instance.serializable_value(name) for name in names}
    if None in wanted.values():
        return None
    found = rows(type(instance), using).filter(is_removed=True, **wanted)
    return (found if instance._state.adding else found.exclude(pk=instance.pk)).first()


def _explanation(obj: models.Model, names: tuple[str, ...]) -> RemovedExists:
    held = ", ".join(f"{name}={getattr(obj, name)!r}" for name in names)
    return RemovedExists(
        f"The removed {obj._meta.label} {obj.pk} holds {held}. Bring it back with restore(), delete it with "
        "hard_delete(), or replace the constraint with a LiveUniqueConstraint, which removed rows do not count for.",
        obj,
    )
