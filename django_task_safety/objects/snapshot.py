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

from django_task_safety.objects.fates import Fate

#: Where the instance's state keeps it.
_NAME = "task_safety_snapshot"
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


class Written(NamedTuple):
    """What a transaction wrote that may still be rolled back, and what was known before."""

    names: frozenset[str]
    #: What was known of these columns before.
    before: dict[str, Any]
    #: Whether it inserted the row.
    inserted: bool
    fate: Fate
    #: What was written before it, in the same transaction.
    earlier: Written | None

    def after(self, earlier: Written | None) -> Written:
        """Return this, together with what may have been written before it."""
        if earlier is None or earlier.fate.committed:
            return self
        if earlier.fate is not self.fate:
            return self._replace(earlier=earlier)
        before = {name: value for name, value in self.before.items() if name not in earlier.names}
        names, inserted = self.names | earlier.names, self.inserted or earlier.inserted
        return Written(names, before | earlier.before, inserted, self.fate, earlier.earlier)


class Snapshot(NamedTuple):
    """The columns of a row as they were read or written last. Replaced, never changed, so that copies may share it."""

    values: dict[str, Any]
    written: Written | None = None

    @classmethod
    def of(cls, instance: models.Model) -> Snapshot | None:
        """Return what is known; None for an instance that was neither loaded nor saved.

        What was written and rolled back since is forgotten: to write it again is no repetition.
        """
        known: Snapshot | None = instance._state.__dict__.get(_NAME)
        while known is not None and known.written is not None and known.written.fate.undone:
            undone = known.written
            instance._state.adding |= undone.inserted
            others = {name: value for name, value in known.values.items() if name not in undone.names}
            known = cls(others | undone.before, undone.earlier)
            instance._state.__dict__[_NAME] = known
        return known

    @classmethod
    def set(cls, instance: models.Model, values: dict[str, Any], written: Written | None = None) -> None:
        """Note the columns of a row that was just read, and forget what was known before; takes the dict over."""
        for name, value in list(values.items()):
            if type(value) not in _PLAIN:
                values[name] = kept = frozen(value)
                if kept is _UNKNOWN:
                    del values[name]
        instance._state.__dict__[_NAME] = cls(values, written)

    @classmethod
    def update(cls, instance: models.Model, values: dict[str, Any]) -> None:
        """Note some columns; an expression makes its column unknown."""
        known = cls.of(instance)
        cls.set(instance, {**(known.values if known else {}), **values}, known.written if known else None)

    @classmethod
    def wrote(cls, instance: models.Model, values: dict[str, Any], using: str, inserted: bool) -> None:
        """Note some columns that were just written, until the transaction is rolled back."""
        known, written = cls.of(instance) or cls({}), None
        fate = Fate.of_this_transaction(using)
        if fate is not None:
            before = {name: value for name, value in known.values.items() if name in values}
            written = Written(frozenset(values), before, inserted, fate, None).after(known.written)
        cls.set(instance, {**known.values, **values}, written)

    def __reduce__(self) -> Any:
        # What another process gets was committed, as far as it can know.
        return Snapshot, (self.values,)

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
