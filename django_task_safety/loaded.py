"""What an instance's row looked like when the instance was loaded, to tell what changed since."""

from __future__ import annotations

import copy
import datetime
import decimal
import uuid
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from django.db import models
from django.db.models.fields.files import FieldFile

#: Where the instance's state keeps it.
_NAME = "task_safety_loaded"
#: The attributes of each model's columns, in the order of `from_db`.
_NAMES: WeakKeyDictionary[type[models.Model], tuple[str, ...]] = WeakKeyDictionary()
#: Values that cannot change in place, so that no copy is needed.
_PLAIN = frozenset(
    [
        type(None), bool, int, float, str, bytes, uuid.UUID, decimal.Decimal,
        datetime.datetime, datetime.date, datetime.time, datetime.timedelta,
    ]
)  # fmt: skip
_UNKNOWN = object()


class Loaded(NamedTuple):
    """The columns of a row as they were read or written last. Replaced, never changed, so that copies may share it."""

    values: dict[str, Any]

    @classmethod
    def of(cls, instance: models.Model) -> Loaded | None:
        """Return what is known; None for an instance that was neither loaded nor saved."""
        known: Loaded | None = instance._state.__dict__.get(_NAME)
        return known

    @classmethod
    def set(cls, instance: models.Model, values: dict[str, Any]) -> None:
        """Note the columns of a row that was just read, and forget what was known before; takes the dict over."""
        for name, value in list(values.items()):
            if type(value) not in _PLAIN:
                values[name] = kept = frozen(value)
                if kept is _UNKNOWN:
                    del values[name]
        instance._state.__dict__[_NAME] = cls(values)

    @classmethod
    def update(cls, instance: models.Model, values: dict[str, Any]) -> None:
        """Note some columns; an expression makes its column unknown."""
        known = cls.of(instance)
        cls.set(instance, {**(known.values if known else {}), **values})

    def describes(self, instance: models.Model) -> bool:
        """Return whether this is about the instance's row: the same primary key, in each table."""
        keys = [field for field in instance._meta.concrete_fields if field.primary_key] or instance._meta.pk_fields
        return all(_same_key(field, self.values, instance) for field in keys)


def columns(model: type[models.Model]) -> tuple[str, ...]:
    """Return the attribute names of the model's columns, in order."""
    try:
        return _NAMES[model]
    except KeyError:
        _NAMES[model] = names = tuple(field.attname for field in model._meta.concrete_fields)
        return names


def _same_key(field: Any, values: dict[str, Any], instance: models.Model) -> bool:
    now, then = instance.__dict__.get(field.attname), values.get(field.attname)
    if now == then:
        return True
    try:
        return bool(field.to_python(now) == then)
    except Exception:
        # What is no key at all is not this one.
        return False


def is_expression(value: Any) -> bool:
    """Return whether the database computes the value."""
    return hasattr(value, "resolve_expression")


def frozen(value: Any) -> Any:
    """Return a value that stays as it is when ``value`` changes in place; an unknown one where that cannot be."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, FieldFile):
        return value.name if value._committed else _UNKNOWN  # type: ignore[attr-defined]
    if isinstance(value, memoryview):
        return bytes(value)
    if is_expression(value) or value is _UNKNOWN:
        return _UNKNOWN
    try:
        return _copied(value)
    except Exception:
        # Then it is written each time, as Django does.
        return _UNKNOWN


def _copied(value: Any) -> Any:
    """Return a copy of JSON, several times as fast as ``deepcopy`` makes it."""
    kind = type(value)
    if kind is dict:
        return {key: _copied(item) for key, item in value.items()}
    if kind is list:
        return [_copied(item) for item in value]
    return value if kind in _PLAIN else copy.deepcopy(value)


def same(value: Any, then: Any) -> bool:
    """Return whether a column would be written as it was: where in doubt, no."""
    now = frozen(value) if isinstance(value, FieldFile | memoryview) else value
    if now is _UNKNOWN or is_expression(now):
        return False
    try:
        if type(now) in _PLAIN:
            return bool(type(now) is type(then) and now == then)
        # 1 and True are equal, but not in JSON.
        return bool(now == then) and (isinstance(now, str) or repr(now) == repr(then))
    except Exception:
        return False
