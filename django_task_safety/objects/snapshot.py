"""What an instance's row looked like when the instance was loaded, to tell what changed since."""

from __future__ import annotations

import copy
import datetime
import decimal
import uuid
from collections.abc import Iterable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from django.db import models
from django.db.models.fields.files import FieldFile

from django_task_safety.objects.transactions import OpenTransaction

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


class Snapshot(NamedTuple):
    """The columns of a row as they were read or written last. Replaced, never changed, so that copies may share it."""

    values: dict[str, Any]
    #: The columns of which one cannot be sure any more.
    lost: frozenset[str] = frozenset()
    #: Those that were read and written in a transaction, which may be lost with it; and those that were written.
    pending: frozenset[str] = frozenset()
    written: frozenset[str] = frozenset()
    transaction: OpenTransaction | None = None
    #: Those in which the instance inserted its row, and in which its `save` removed that or brought it back.
    inserted: OpenTransaction | None = None
    marked: OpenTransaction | None = None

    @classmethod
    def of(cls, instance: models.Model) -> Snapshot | None:
        """Return what was noted; None for an instance that was neither loaded nor saved."""
        return instance._state.__dict__.get(_NAME)

    @classmethod
    def loaded(cls, instance: models.Model, values: dict[str, Any], using: str) -> None:
        """Note the columns of a row that was just loaded; takes the dict over."""
        for name, value in values.items():
            if type(value) not in _PLAIN:
                values[name] = frozen(value)
        at = OpenTransaction.of_a_read(using)
        new = cls(values) if at is None else cls(values, pending=frozenset(values), transaction=at)
        instance._state.__dict__[_NAME] = new

    @classmethod
    def read(cls, instance: models.Model, values: dict[str, Any], using: str, *, anew: bool) -> None:
        """Note some columns that were just read; ``anew`` where what is known may be about another row."""
        known, at = cls({}) if anew else cls._lasting(instance), OpenTransaction.of_a_read(using)
        # The one that is known may learn of the commit.
        new = known._with(values, at and (known.transaction or at), known.written - values.keys())
        new._replace(marked=None)._keep(instance)

    @classmethod
    def wrote(
        cls, instance: models.Model, values: dict[str, Any], using: str, *, inserted: bool, anew: bool = False
    ) -> None:
        """Note some columns that were just written: in a transaction, they are known when that has committed."""
        known, at = cls({}) if anew else cls._lasting(instance), OpenTransaction.of_a_write(using)
        new = known._with(values, at, known.written | values.keys())
        (new._replace(inserted=at) if inserted else new)._keep(instance)

    @classmethod
    def update(cls, instance: models.Model, values: dict[str, Any]) -> None:
        """Note some columns, whatever becomes of the transaction."""
        known = cls._lasting(instance)
        new = known._with(values, known.transaction, known.written - values.keys())
        new._replace(pending=new.pending - values.keys(), marked=None)._keep(instance)

    @classmethod
    def wrote_mark(cls, instance: models.Model, using: str) -> None:
        """Note that `save` has just removed the row, or brought it back."""
        cls._lasting(instance)._replace(marked=OpenTransaction.of_a_write(using))._keep(instance)

    @classmethod
    def forget(cls, instance: models.Model, names: Iterable[str]) -> None:
        """Note that some columns are written past `save`."""
        known = cls._lasting(instance)
        known._replace(lost=known.lost.union(names))._keep(instance)

    @classmethod
    def _lasting(cls, instance: models.Model) -> Snapshot:
        """Return what was noted, without a transaction that is over."""
        known = cls.of(instance) or cls({})
        if known.transaction is not None and known.transaction.is_open:
            return known
        return cls(known.values, known.doubtful, inserted=known.inserted, marked=known.marked)

    def _with(self, values: dict[str, Any], at: OpenTransaction | None, written: frozenset[str]) -> Snapshot:
        all_values = {**self.values, **{name: frozen(value) for name, value in values.items()}}
        lost = self.lost - values.keys()
        pending = self.pending | values.keys()
        if at is None:
            pending = written = frozenset()
        return Snapshot(all_values, lost, pending, written, at, self.inserted, self.marked)

    def _keep(self, instance: models.Model) -> None:
        instance._state.__dict__[_NAME] = self

    @property
    def doubtful(self) -> frozenset[str]:
        """The columns that the row may not hold as they were noted."""
        if self.transaction is None or self.transaction.lasts:
            return self.lost
        return self.lost | (self.written if self.transaction.is_open else self.pending)

    @property
    def known(self) -> dict[str, Any]:
        """What the row is sure to hold, unless others have written it."""
        doubtful = self.doubtful
        return {name: value for name, value in self.values.items() if name not in doubtful}

    @property
    def insert_rolled_back(self) -> bool:
        """Whether the instance's own INSERT of the row was rolled back."""
        return self.inserted is not None and self.inserted.rolled_back

    @property
    def mark_rolled_back(self) -> bool:
        """Whether the row is as it was before `save` removed it, or brought it back."""
        return self.marked is not None and self.marked.rolled_back

    def describes(self, instance: models.Model) -> bool:
        """Return whether this is about the instance's row: the same primary key, in each table."""
        keys = key_fields(instance)
        known = any(field.attname in self.values for field in keys)
        return not known or all(_same_key(field, self.values, instance) for field in keys)

    def __deepcopy__(self, memo: Any) -> Snapshot:
        return self

    def __reduce__(self) -> Any:
        # What has not been committed yet, another process never learns of.
        return Snapshot, (self.values, self.doubtful | self.pending)


def columns(model: type[models.Model]) -> tuple[str, ...]:
    """Return the attribute names of the model's columns, in order."""
    try:
        return _NAMES[model]
    except KeyError:
        _NAMES[model] = names = tuple(field.attname for field in model._meta.concrete_fields)
        return names


def key_fields(instance: models.Model) -> list[Any]:
    """Return the fields of the instance's primary key, in each of its tables."""
    meta: Any = instance._meta
    return [field for field in meta.concrete_fields if field.primary_key] or meta.pk_fields


def _same_key(field: Any, row: dict[str, Any], instance: models.Model) -> bool:
    now, then = instance.__dict__.get(field.attname), row.get(field.attname)
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
        # 1 and True are equal, and so are two moments that differ in their fold, and 0.0 and -0.0.
        return bool(now == then) and (isinstance(now, str | bytes) or repr(now) == repr(then))
    except Exception:
        return False
