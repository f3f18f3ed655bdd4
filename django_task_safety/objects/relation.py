"""``note.operations``: the relation from an object to its operations, and the hook by which deletes look at them."""

import copy
from collections.abc import Sequence
from typing import Any, NoReturn, cast

from django.db import models
from django.db.models.expressions import Col
from django.db.models.fields.related import ForeignObject, ReverseManyToOneDescriptor
from django.db.models.fields.reverse_related import ForeignObjectRel
from django.db.models.functions import Cast, Replace
from django.db.models.lookups import Exact, IsNull
from django.db.models.query_utils import PathInfo
from django.db.models.sql.where import AND, OR, WhereNode

from django_task_safety.conf import conf
from django_task_safety.errors import InvalidArguments
from django_task_safety.ledger.querysets import OperationManager, OperationQuerySet
from django_task_safety.objects import delete_guard
from django_task_safety.record import operation_model
from django_task_safety.values.identity import Identity, has_key_of_root, pk_field, pk_of, root_model

NAME = "operations"


class OperationsRelation(ForeignObject):  # type: ignore[type-arg]
    """The operations of an object. No column and no constraint: a join over the root model's label and primary key."""

    auto_created = False
    many_to_many = False
    many_to_one = False
    one_to_many = True
    one_to_one = False
    empty_strings_allowed = False
    mti_inherited = False

    def __init__(self) -> None:
        to: Any = "django_task_safety.Operation"
        rel = _Operations(self, to, related_name="+", on_delete=models.DO_NOTHING)
        super().__init__(
            to, models.CASCADE, ["subject_id"], [], rel, null=True, blank=True, editable=False, serialize=False
        )

    def contribute_to_class(self, cls: type[models.Model], name: str, private_only: bool = True, **kwargs: Any) -> None:
        super().contribute_to_class(cls, name, private_only=True)
        self.model = cls
        setattr(cls, name, OperationsDescriptor(self.remote_field))  # type: ignore[arg-type]
        if cls._meta.proxy and not is_watched(cls):
            # The mixin on a proxy: its rows are deleted under the other names as well.
            assert cls._meta.concrete_model is not None
            attach_relation(cls._meta.concrete_model)
        if not cls._meta.abstract:
            models.signals.pre_delete.connect(delete_guard.before_delete, sender=cls, dispatch_uid=NAME)
            models.signals.post_delete.connect(delete_guard.after_delete, sender=cls, dispatch_uid=NAME)

    def set_attributes_from_rel(self) -> None:
        """Keep this side's own name and label."""

    def get_internal_type(self) -> str:
        return "ManyToManyField"

    def resolve_related_fields(self) -> list[Any]:
        self.to_fields = [self.model._meta.pk.name]
        # exclude() compares the two by themselves.
        subject = copy.copy(self.remote_field.model._meta.get_field("subject_id"))
        subject.__class__ = _SubjectId
        subject.__dict__.pop("cached_col", None)
        return [(subject, self.model._meta.pk)]

    def get_joining_fields(self, reverse_join: bool = False) -> tuple[Any, ...]:
        """The columns are of different types: `get_extra_restriction` compares them."""
        return ()

    def get_path_info(self, filtered_relation: Any = None) -> list[PathInfo]:
        """Tell a query how to join. Raises `InvalidArguments` where the model's table does not have the key by which
        operations know the object."""
        if not has_key_of_root(self.model):
            link = self.model._meta.get_ancestor_link(root_model(self.model))
            label, via = self.model._meta.label, f"{link.name if link else ''}__{NAME}"
            raise InvalidArguments(
                f"{label} has a primary key beside its parent's, by which operations know it: filter by {via!r}."
            )
        opts, rel = self.remote_field.model._meta, cast(Any, self.remote_field)
        return [PathInfo(self.model._meta, opts, (opts.pk,), rel, True, False, filtered_relation)]

    def get_reverse_path_info(self, filtered_relation: Any = None) -> list[PathInfo]:
        opts, from_opts = self.model._meta, self.remote_field.model._meta
        return [PathInfo(from_opts, opts, (opts.pk,), self, False, False, filtered_relation)]

    def get_extra_restriction(self, alias: str | None, related_alias: str) -> WhereNode:
        """Join on the object's identity, and leave out the rows that only wait for another one."""
        operation: Any = self.remote_field.model._meta
        names = ("subject_label", "subject_id", "subject_database", "waits_for", "replaced")
        label, pk, database, waits_for, replaced = (operation.get_field(name).get_col(related_alias) for name in names)
        root = root_model(self.model)
        work: list[Any] = [IsNull(waits_for, True), Exact(replaced, True)]
        conditions: list[Any] = [
            Exact(label, root._meta.label_lower),
            # The objects beside the operations, also where both are read through a replica.
            Exact(database, conf().DATABASE),
            # As `OperationManager` does.
            WhereNode(work, connector=OR),
        ]
        if alias is not None:
            conditions.append(Exact(pk, _as_text(pk_of(self.model).get_col(alias))))
        return WhereNode(conditions, connector=AND)

    def bulk_related_objects(self, objs: Sequence[models.Model], using: str) -> Sequence[models.Model]:
        """Django's collector asks for what goes with ``objs``: nothing, or ObjectLocked if one of them is protected."""
        delete_guard.collected(objs, using)
        return ()


class _Operations(ForeignObjectRel):
    """The other side, which has no name; what is compared with an operation is its own id."""

    def get_path_info(self, filtered_relation: Any = None) -> list[PathInfo]:
        field: Any = self.field
        return cast(list[PathInfo], field.get_path_info(filtered_relation))


def _as_text(column: Col) -> Any:
    """Return the SQL for a primary key as `identity.pk_text` writes it."""
    field = pk_field(column.target.model)
    if isinstance(field, models.CharField):
        return column
    text = Cast(column, models.CharField())
    return Replace(text, models.Value("-"), models.Value("")) if isinstance(field, models.UUIDField) else text


class _SubjectId(models.CharField):  # type: ignore[type-arg]
    """The column `Operation.subject_id` where it is compared with a primary key."""

    def get_lookup(self, lookup_name: str) -> Any:
        return _SameObject if lookup_name == "exact" else super().get_lookup(lookup_name)


class _SameObject(Exact):
    def as_sql(self, compiler: Any, connection: Any) -> Any:
        if isinstance(self.rhs, Col):
            return Exact(self.lhs, _as_text(self.rhs)).as_sql(compiler, connection)
        return super().as_sql(compiler, connection)


def is_watched(model: type[models.Model]) -> bool:
    """Return whether deleting a row of the model, by whatever name, looks at its operations."""
    return _has_relation(model._meta.concrete_model or model)


def _has_relation(model: type[models.Model]) -> bool:
    return any(isinstance(field, OperationsRelation) for field in model._meta.private_fields)


def attach_relation(model: type[models.Model]) -> None:
    """Give the relation to a model with a table and to all whose rows are rows of it: subclasses, and proxies. Raises
    `InvalidArguments` if one of them has another attribute of that name; then none has got it."""
    family = [model, *_descendants(model)]
    for member in family:
        if not isinstance(member.__dict__.get(NAME), OperationsDescriptor | None):
            raise InvalidArguments(f"{member._meta.label} has an attribute {NAME!r} of its own; it cannot be watched.")
    for member in family:
        if not _has_relation(member):
            member.add_to_class(NAME, OperationsRelation())


def _descendants(model: type[models.Model]) -> list[type[Any]]:
    found: dict[type[Any], None] = {}
    for child in model.__subclasses__():
        if not child._meta.abstract:
            found.update(dict.fromkeys([child, *_descendants(child)]))
    return list(found)


class OperationsDescriptor(ReverseManyToOneDescriptor):  # type: ignore[type-arg]
    """``note.operations``."""

    def __get__(self, instance: models.Model | None, cls: Any = None) -> Any:
        return self if instance is None else SubjectManager(instance)

    def __set__(self, instance: models.Model, value: Any) -> NoReturn:
        raise InvalidArguments("The operations of an object cannot be assigned; enqueue a task with the object.")


class SubjectManager(OperationManager):
    """The operations of one object, as a related manager: ``all()``, ``filter()``, ``pending()``, ``cancel()``, …"""

    def __init__(self, instance: models.Model) -> None:
        super().__init__()
        self.instance, self.model = instance, operation_model()

    def get_queryset(self) -> OperationQuerySet:
        """Those of this object: the prefetched ones where there are. Raises `InvalidArguments` if the object was never
        saved."""
        prefetched: OperationQuerySet | None = getattr(self.instance, "_prefetched_objects_cache", {}).get(NAME)
        return super().get_queryset().for_object(self.instance) if prefetched is None else prefetched

    def _apply_rel_filters(self, queryset: OperationQuerySet) -> OperationQuerySet:
        # Django asks for it where a queryset of the caller's was prefetched.
        return queryset.for_object(self.instance)

    def get_prefetch_querysets(
        self, instances: Sequence[models.Model], querysets: Sequence[OperationQuerySet] | None = None
    ) -> tuple[Any, ...]:
        """Tell ``prefetch_related`` how to fetch the operations of many objects in one statement."""
        found = querysets[0] if querysets else OperationManager.get_queryset(self)
        if found.query.is_sliced:
            raise InvalidArguments(
                "A sliced queryset would be sliced for all objects together. Prefetch the operations whole, and slice "
                "those of each object."
            )
        labels, pks, databases = map(set, zip(*map(Identity.of, instances), strict=True))
        found = found.filter(subject_label__in=labels, subject_id__in=pks, subject_database__in=databases)
        return found, Identity.stored, Identity.of, False, NAME, False
