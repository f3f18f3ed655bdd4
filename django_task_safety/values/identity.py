"""Which object an operation is about: one identity per row, however the instance was reached."""

from __future__ import annotations

import re
import uuid
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import DEFAULT_DB_ALIAS, connections, models, router
from django.utils.connection import ConnectionDoesNotExist

from django_task_safety.errors import InvalidArguments
from django_task_safety.values import codec

if TYPE_CHECKING:
    from django_task_safety.record import AbstractOperation

#: A whole number as text.
_WHOLE = re.compile("-?[0-9]+")


class Identity(NamedTuple):
    """What makes an object the same one, read through a replica, as a proxy or as a parent; empty for no object."""

    #: ``app_label.model`` of the root model.
    label: str = ""
    #: The root model's primary key as text.
    pk: str = ""
    #: The alias of the database that the object is written to.
    database: str = ""

    @classmethod
    def of(cls, instance: models.Model) -> Identity:
        """Return that of a saved instance. Raises `InvalidArguments` if it is no instance, was never saved, or has a
        primary key of several columns."""
        if not isinstance(instance, models.Model):
            raise InvalidArguments(f"{codec.quoted(instance)} is not a model instance.")
        model = instance.__class__  # not type(): request.user is a lazy one
        root, label = root_model(model), model._meta.label
        pk = pk_of(root)
        if isinstance(pk, models.CompositePrimaryKey):
            raise InvalidArguments(
                f"{label} has a composite primary key: tasks, operations and locks know an object by a key of one "
                "column. Pass the values of the key instead of the object."
            )
        if instance.pk is None or instance._state.adding:
            raise InvalidArguments(
                f"This {label} was never saved, or was deleted: tasks, operations and locks know an object by its "
                "row. Save it first."
            )
        database = router.db_for_write(model, instance=instance)
        return cls(root._meta.label_lower, pk_text(root, pk.value_to_string(instance)), database)

    @classmethod
    def stored(cls, operation: AbstractOperation) -> Identity:
        """Return that of an operation's object, read in one statement where the columns are deferred."""
        names = ("subject_label", "subject_id", "subject_database")
        if deferred := operation.get_deferred_fields().intersection(names):
            operation.refresh_from_db(fields=deferred)
        return cls(*(getattr(operation, name) for name in names))

    @classmethod
    def named(cls, label: str, key: str) -> Identity:
        """Return that of the object of a model, ``app_label.Model``, with that primary key; there need not be one.

        Raises:
            LookupError: If there is no such model.
            InvalidArguments: If it cannot be the key of one.
        """
        model = model_named(label)
        return cls(root_model(model)._meta.label_lower, key_text(model, key), router.db_for_write(model))

    @property
    def columns(self) -> dict[str, str]:
        """The columns of an operation that hold it, to write them or to look for them."""
        return {"subject_label": self.label, "subject_id": self.pk, "subject_database": self.database}

    def load(self) -> models.Model | None:
        """Return the object as its root model, or None when it, its model or its database does not exist."""
        if not self.label:
            return None
        try:
            manager = apps.get_model(self.label)._base_manager
            found: models.Model | None = manager.using(self.database).filter(pk=self.pk).first()
        except (LookupError, ConnectionDoesNotExist):
            return None
        return found

    def __str__(self) -> str:
        where = "" if self.database in ("", DEFAULT_DB_ALIAS) else f" in the database {self.database!r}"
        return f"{self.label} {self.pk}{where}"


def database_of(instance: models.Model, using: str) -> str:
    """Return the database of an object that goes when its row is deleted through the alias ``using``.

    A replica's alias is no database of its own; where the instance was read elsewhere, the object there is not meant.
    """
    return router.db_for_write(type(instance), instance=instance) if instance._state.db == using else using


def model_named(label: str) -> type[models.Model]:
    """Return the model with that label, ``app_label.Model``. Raises `LookupError`."""
    try:
        return apps.get_model(label)
    except ValueError as exc:
        raise LookupError(f"{label!r} is no model: a model is named as app_label.Model.") from exc


def root_model(model: type[models.Model]) -> type[models.Model]:
    """Return the model whose table holds the object's identity: past proxies, and up multi-table inheritance."""
    concrete = model._meta.concrete_model or model
    parents = concrete._meta.parents
    return root_model(next(iter(parents))) if parents else concrete


def root_key(instance: models.Model) -> Any:
    """Return the value of the root model's primary key."""
    return getattr(instance, pk_of(root_model(type(instance))).attname)


def has_key_of_root(model: type[models.Model]) -> bool:
    """Return whether the model's own primary key is the root model's: not where a child has one beside its parent's."""
    field: Any = pk_of(model)
    root = root_model(model)
    while field.model is not root and field.remote_field is not None and field.remote_field.parent_link:
        field = field.target_field
    return field is pk_of(root)


def roots(model: type[models.Model]) -> list[type[models.Model]]:
    """Return the models whose tables hold the object's identities: the root, and those of further parents."""
    concrete = model._meta.concrete_model or model
    ancestors = [parent for parent in concrete._meta.get_parent_list() if not parent._meta.parents]
    return ancestors or [concrete]


def check_identity(model: type[models.Model]) -> None:
    """Refuse a primary key whose text could differ between Python and the database. Raises `InvalidArguments`: Unless
    it is a whole number, a UUID or a string."""
    field = pk_field(root_model(model))
    if not isinstance(field, models.IntegerField | models.UUIDField | models.CharField):
        raise InvalidArguments(
            f"{model._meta.label} has a {type(field).__name__} as its primary key; operations know objects by a whole "
            "number, a UUID or a string."
        )


def pk_text(root: type[models.Model], pk: Any) -> str:
    """Return a root model's primary key as `Operation.subject_id` holds it: a UUID as 32 hexadecimal digits."""
    field = pk_field(root)
    if isinstance(field, models.UUIDField):
        return uuid.UUID(str(pk)).hex
    return str(int(pk)) if isinstance(field, models.IntegerField) else str(pk)


def key_text(model: type[models.Model], key: Any) -> str:
    """Return a primary key that was passed for an object, as `pk_text` does. Raises `InvalidArguments` for what cannot
    be one: None, a value of another type, a number or a text that the column does not hold."""
    if model._meta.abstract or isinstance(pk_of(model), models.CompositePrimaryKey):
        raise InvalidArguments(f"{codec.quoted(key)} does not say which {model._meta.label} is meant; pass the object.")
    try:
        return _key_text(pk_field(root_model(model)), key, router.db_for_write(model))
    except (TypeError, ValueError, ValidationError) as exc:  # a lone surrogate is a ValueError, too
        raise InvalidArguments(f"{codec.quoted(key)} cannot be the primary key of a {model._meta.label}.") from exc


def _key_text(field: models.Field[Any, Any], key: Any, using: str) -> str:
    if isinstance(field, models.IntegerField):
        if isinstance(key, bool) or not (isinstance(key, int) or _WHOLE.fullmatch(key)):
            raise ValueError("It is no whole number.")
        lowest, highest = connections[using].ops.integer_field_range(field.get_internal_type())
        if (lowest is not None and int(key) < lowest) or (highest is not None and int(key) > highest):
            raise ValueError("The column does not hold it.")
        return str(int(key))
    if isinstance(field, models.UUIDField):
        if not isinstance(key, uuid.UUID | str):
            raise TypeError("It is no UUID.")
        return uuid.UUID(str(key)).hex
    if isinstance(field, models.CharField | models.TextField):
        if not isinstance(key, str) or "\x00" in key or len(key) > (field.max_length or len(key)):
            raise ValueError("The column does not hold it.")
        key.encode()
        return str(key)
    value = field.to_python(key)
    if value is None:
        raise ValueError("It is no key.")
    return field.value_to_string(SimpleNamespace(**{field.attname: value}))  # type: ignore[arg-type]


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
