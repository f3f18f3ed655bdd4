"""What loses its foreign key when the object is removed, and gets it back when that is restored."""

import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.db import connections, models
from django.db.models import Case, Value, When
from django.db.models.functions import Cast

from django_task_safety.soft_delete.rows import holder, rows
from django_task_safety.values.chunks import CHUNK, chunks


class Detachment(models.Model):
    """A foreign key that a removal has set to another value by SET_NULL, SET_DEFAULT or SET()."""

    removal = models.UUIDField()
    #: The child: ``app_label.model``, name of the foreign key, primary key as text.
    model = models.CharField(max_length=255)
    field = models.CharField(max_length=255)
    child = models.CharField(max_length=255)
    #: What the foreign key pointed to, and what it was set to, as text; None for NULL.
    old = models.CharField(max_length=255)
    new = models.CharField(max_length=255, null=True)  # noqa: DJ001

    class Meta:
        indexes = (models.Index(fields=["removal", "old"], name="task_safety_detachment"),)

    def __str__(self) -> str:
        return f"{self.model} {self.child}: {self.field} was {self.old}"


def detach(removal: uuid.UUID, field: Any, value: Any, groups: Iterable[Any], using: str) -> None:
    """Set the foreign key of the children, which are querysets or lists, and note what it was.

    The value is as Django's on_delete rules give it: a key, an object or None.
    """
    new = getattr(value, field.target_field.attname) if isinstance(value, models.Model) else value
    children = {pk: old for group in groups for pk, old in _keys(field, group)}
    label, text = field.model._meta.label_lower, None if new is None else str(new)
    noted = [
        Detachment(removal=removal, model=label, field=field.name, child=str(pk), old=str(old), new=text)
        for pk, old in children.items()
    ]
    for chunk in chunks(noted):
        Detachment.objects.using(using).bulk_create(chunk)
    for pks in chunks(list(children)):
        rows(field.model, using).filter(pk__in=pks).update(**{field.attname: new})


def _keys(field: Any, group: Any) -> Iterable[tuple[Any, Any]]:
    """Yield primary key and foreign key of each child, as the rows are now."""
    if isinstance(group, models.QuerySet):
        return group.order_by().select_for_update().values_list("pk", field.attname)
    return [(child.pk, getattr(child, field.attname)) for child in group]


def reconnect(removal: uuid.UUID, restored: Sequence[models.Model], using: str) -> None:
    """Give the children of restored objects their foreign key back, unless somebody has set it since."""
    for field, noted in _noted(removal, restored, using):
        _reconnect(field, list(noted.values_list("child", "old", "new")), using)
        noted.delete()


def forget(models_there: Iterable[type[models.Model]], using: str) -> None:
    """Forget what was detached from objects that have been deleted for good since; of all models with rows there."""
    lost = Detachment.objects.using(using)
    for model in {holder(model) for model in models_there}:
        lost = lost.exclude(removal__in=rows(model, using).filter(removal__isnull=False).values("removal"))
    lost.delete()


def _noted(removal: uuid.UUID, objs: Sequence[models.Model], using: str) -> Iterator[tuple[Any, models.QuerySet[Any]]]:
    """Yield each foreign key that the removal has set, and what it has noted of those that pointed to the objects."""
    noted = Detachment.objects.using(using).filter(removal=removal)
    for label, name in list(noted.order_by().values_list("model", "field").distinct()):
        try:
            field: Any = apps.get_model(label)._meta.get_field(name)
        except (LookupError, FieldDoesNotExist):
            continue
        target = field.remote_field.model._meta.concrete_model
        values = {str(getattr(obj, field.target_field.attname)) for obj in objs if isinstance(obj, target)}
        for chunk in chunks(sorted(values)):
            yield field, noted.filter(model=label, field=name, old__in=chunk)


def _reconnect(field: Any, noted: Iterable[tuple[str, str, str | None]], using: str) -> None:
    by_new: dict[str | None, list[tuple[str, str]]] = {}
    for child, old, new in noted:
        by_new.setdefault(new, []).append((child, old))
    for new, pairs in by_new.items():
        still = {f"{field.attname}__isnull": True} if new is None else {field.attname: new}
        # Three parameters for each child.
        for chunk in chunks(pairs, CHUNK // 3):
            children = rows(field.model, using).filter(pk__in=[child for child, _ in chunk], **still)
            children.update(**{field.attname: _old_value(field, chunk, using)})


def _old_value(field: Any, pairs: Iterable[tuple[str, str]], using: str) -> Any:
    target = field.target_field
    value: Any = Case(*(When(pk=child, then=Value(target.to_python(old), target)) for child, old in pairs))
    if connections[using].features.requires_casted_case_in_updates:
        value = Cast(value, output_field=field)
    return value
