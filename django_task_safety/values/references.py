"""Model instances cross the broker as references and are loaded fresh where the task runs.

A reference is a small dict, signed with the project's SECRET_KEY, so that a dict of a user's that happens to look
like one (or was made to) stays the plain data that it is. Those signed with one of SECRET_KEY_FALLBACKS count too, so
that the key can be changed while operations wait; what looks like a reference and is not signed is logged.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from django.apps import apps
from django.core.exceptions import ObjectDoesNotExist
from django.core.signing import Signer
from django.db import models, router

from django_task_safety.errors import InvalidArguments, ObjectGone
from django_task_safety.values import codec
from django_task_safety.values.identity import Identity, key_text, pk_of, pk_text, root_model

logger = logging.getLogger("django_task_safety")

MARK = "__model__"
_SALT = "django_task_safety.references"


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Reference:
    """A model instance by name: its own ``app_label.model``, and the rest of its identity."""

    label: str
    pk: str
    using: str

    def __repr__(self) -> str:
        try:
            name = apps.get_model(self.label)._meta.object_name
        except LookupError:
            name = self.label
        return f"<{name} {self.pk}>"

    @classmethod
    def to(cls, instance: models.Model) -> Reference:
        """Return the reference to a saved instance; raises as `Identity.of` does."""
        identity = Identity.of(instance)
        return cls(instance._meta.label_lower, identity.pk, identity.database)

    @classmethod
    def by_key(cls, model: type[models.Model], key: Any) -> Reference:
        """Return the reference to the object with a primary key; raises `InvalidArguments` for what can be none."""
        return cls(model._meta.label_lower, key_text(model, key), router.db_for_write(model))

    def as_model(self, model: type[models.Model]) -> Reference:
        """Return the reference if it is to an object of ``model``, as which it is to be loaded; a proxy is the same.
        Raises `InvalidArguments` if it is to another one."""
        try:
            own = apps.get_model(self.label)
        except LookupError:
            return self  # loading says that the model is gone
        if issubclass(own, model):
            return self
        concrete = model._meta.concrete_model
        if concrete is None or not issubclass(own, concrete):
            raise InvalidArguments(f"a {own._meta.label} is none.")
        return dataclasses.replace(self, label=model._meta.label_lower)

    @property
    def identity(self) -> Identity:
        """The object's, whatever the class it is referred to by."""
        root = root_model(apps.get_model(self.label))
        return Identity(root._meta.label_lower, pk_text(root, self.pk), self.using)

    def dump(self) -> dict[str, Any]:
        """Return the reference as a JSON-able, signed dict."""
        parts = [self.label, self.pk, self.using]
        return {MARK: [*parts, Signer(salt=_SALT).signature(":".join(parts))]}

    def load(self, *, removed: bool = True) -> models.Model:
        """Return the object, freshly loaded from where it is written to, as the class that was passed. Raises
        `ObjectGone` if it is not there any more, or is soft-deleted and ``removed`` is False."""
        try:
            model = apps.get_model(self.label)
        except LookupError as exc:
            raise ObjectGone(f"The model {self.label} of an argument does not exist any more.") from exc
        manager, said = model._base_manager.using(self.using), Identity(self.label, self.pk, self.using)
        root = root_model(model)
        name = pk_of(root).attname
        try:
            loaded: models.Model = manager.get(**{name: self.pk})
        except ObjectDoesNotExist as exc:
            raise ObjectGone(f"{said} does not exist any more.") from exc
        if pk_text(root, getattr(loaded, name)) != pk_text(root, self.pk):
            # The column's collation takes the two for equal.
            raise ObjectGone(f"{said} does not exist; {Identity.of(loaded)} does.")
        from model_utils.models import SoftDeletableModel  # it has models, which need the apps

        if not removed and isinstance(loaded, SoftDeletableModel) and loaded.is_removed:
            raise ObjectGone(f"{said} is removed.")
        return loaded


def _read(value: dict[Any, Any]) -> Reference | None:
    parts = value.get(MARK)
    if len(value) != 1 or not isinstance(parts, list | tuple) or len(parts) != 4:
        return None
    if not all(isinstance(part, str) for part in parts):
        return None
    try:
        Signer(salt=_SALT).unsign(":".join(parts))
    except Exception:
        logger.warning(
            "a dict that looks like a reference to %r is not signed with SECRET_KEY or one of SECRET_KEY_FALLBACKS; "
            "it is passed on as it is",
            parts[0],
        )
        return None
    return Reference(*parts[:3])


def dump(value: Any, known: dict[Reference, models.Model] | None = None) -> Any:
    """Return ``value`` with every model instance in it, at any depth of lists, tuples and dicts, made a reference.

    ``known`` takes the instances that were met.
    """

    def leaf(found: Any) -> Any:
        if isinstance(found, models.Model):
            reference = Reference.to(found)
            if known is not None:
                known[reference] = found
            return reference.dump()
        return found.dump() if isinstance(found, Reference) else found

    return _walk(value, leaf, _same)


def parse(value: Any) -> Any:
    """Return ``value``, which came from a message, with the references in it as `Reference` objects."""
    return _walk(value, _same, lambda found: _read(found) or found)


def load(value: Any, known: Mapping[Reference, models.Model] | None = None, *, removed: bool = True) -> Any:
    """Return ``value``, which came from a message, with every reference in it replaced by the object.

    Those that are ``known`` are not loaded.

    Raises:
        ObjectGone: If one that is loaded is not there any more, or is soft-deleted and ``removed`` is False.
    """

    def leaf(found: Any) -> Any:
        if not isinstance(found, Reference):
            return found
        return known[found] if known and found in known else found.load(removed=removed)

    return _walk(parse(value), leaf, _same)


def pick_subject(name: str | None, arguments: Mapping[str, Any]) -> Reference | None:
    """Return the argument that is the task's object: the named one, or else the first model instance. Raises
    `InvalidArguments` if the named one is not a model instance."""
    if name is None:
        return next((value for value in _flat(arguments.values()) if isinstance(value, Reference)), None)
    value = arguments.get(name)
    if value is not None and not isinstance(value, Reference):
        raise InvalidArguments(f"The subject parameter {name!r} must be a model instance, not {codec.quoted(value)}.")
    return value


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    """Yield the arguments, those of ``*args`` and ``**kwargs`` parameters one by one."""
    for value in values:
        if isinstance(value, tuple):
            yield from value
        elif isinstance(value, dict):
            yield from value.values()
        else:
            yield value


def _same(value: Any) -> Any:
    return value


def _walk(value: Any, leaf: Callable[[Any], Any], mapping: Callable[[dict[Any, Any]], Any]) -> Any:
    if isinstance(value, dict):
        changed = mapping(value) if MARK in value else value
        if changed is not value:
            return changed
        items = {key: _walk(item, leaf, mapping) for key, item in value.items()}
        # Only a dict in which something changed is rebuilt: subclasses (signatures) keep their type.
        if all(items[key] is item for key, item in value.items()):
            return value
        copy = value.copy()
        copy.update(items)
        return copy
    if isinstance(value, list | tuple):
        walked = [_walk(item, leaf, mapping) for item in value]
        if all(new is old for new, old in zip(walked, value, strict=True)):
            return value
        return type(value)(*walked) if hasattr(value, "_fields") else type(value)(walked)
    return leaf(value)
