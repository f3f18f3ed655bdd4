"""Managers and querysets of soft-deletable models."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.db import models

from django_task_safety.locking.lockable import LockableQuerySet
from django_task_safety.soft_delete import restore as restoring
from django_task_safety.soft_delete import unique_conflicts
from django_task_safety.soft_delete.collector import ByClass, SoftCollector

M = TypeVar("M", bound=models.Model)

#: The model of which `SoftDeleteManager` has removed rows as well.
_with_removed: ContextVar[type[models.Model] | None] = ContextVar("django_task_safety_with_removed", default=None)


@contextmanager
def with_removed(model: type[models.Model]) -> Iterator[None]:
    """Querysets that are made inside the block have the removed rows of the model too, whatever else they leave out."""
    token = _with_removed.set(model)
    try:
        yield
    finally:
        _with_removed.reset(token)


# Without django-model-utils' mixins, which are Generic before they are Django's; a project's own may be so the other
# way round, and this combines with both.
class SoftDeleteQuerySet(LockableQuerySet[M]):
    """A queryset whose ``delete()`` removes softly; of models that can be locked as well."""

    def delete(self) -> tuple[int, dict[str, int]]:
        """Remove the live ones among these, and what goes with them, in a number of statements that depends on the
        number of models and not of rows.

        Returns:
            How many objects were removed, and how many of which model.

        Raises:
            ObjectLocked: If a pending operation or a held lock protects one of them.
            ProtectedError: If a foreign key does. Also Django's ``RestrictedError``.
        """
        chosen = self._chosen("delete")
        removed = SoftCollector(chosen.db, origin=self).remove(chosen.filter(is_removed=False))
        self._result_cache = None
        return removed

    delete.alters_data = True  # type: ignore[attr-defined]
    # As Django's QuerySet.delete, which managers do not have.
    delete.queryset_only = True  # type: ignore[attr-defined]

    def hard_delete(self) -> tuple[int, dict[str, int]]:
        """Delete these for good, as Django does, and what goes with them, removed or not."""
        chosen = self._chosen("hard_delete")
        collector = ByClass(chosen.db, origin=self)
        collector.collect(chosen)
        deleted: tuple[int, dict[str, int]] = collector.delete()
        self._result_cache = None
        return deleted

    hard_delete.alters_data = True  # type: ignore[attr-defined]
    hard_delete.queryset_only = True  # type: ignore[attr-defined]

    async def ahard_delete(self) -> tuple[int, dict[str, int]]:
        """As `hard_delete`."""
        return await sync_to_async(self.hard_delete)()

    ahard_delete.alters_data = True  # type: ignore[attr-defined]
    ahard_delete.queryset_only = True  # type: ignore[attr-defined]

    def restore(self) -> tuple[int, dict[str, int]]:
        """Bring back the removed ones among these, each with exactly what went together with it.

        Returns:
            How many objects came back, and how many of which model.

        Raises:
            RestoreConflict: If a live row holds a unique value of one of them. Nothing was restored.
        """
        chosen = self._chosen("restore")
        restored = restoring.restore(list(chosen.filter(is_removed=True)), chosen.db)
        self._result_cache = None
        return restored

    restore.alters_data = True  # type: ignore[attr-defined]

    async def arestore(self) -> tuple[int, dict[str, int]]:
        """As `restore`."""
        return await sync_to_async(self.restore)()

    arestore.alters_data = True  # type: ignore[attr-defined]

    def _chosen(self, what: str) -> Any:
        """These rows to be written: on the database for writing and in no order, as Django's ``delete()`` does it, but
        with what they join, by which some querysets tell subclasses."""
        self._not_support_combined_queries(what)  # type: ignore[attr-defined]
        if self.query.is_sliced or self.query.distinct_fields or self._fields is not None:  # type: ignore[attr-defined]
            raise TypeError(f"Cannot call {what}() after slicing, .distinct(*fields), .values() or .values_list().")
        chosen: Any = self._chain()  # type: ignore[attr-defined]
        chosen._for_write = True
        chosen.query.select_for_update = False
        chosen.query.clear_ordering(force=True)
        if chosen.query.select_related:  # the two exclude each other, and Django's delete() keeps but the second
            chosen.query.clear_deferred_loading()
        return chosen

    def only(self, *fields: Any) -> Any:
        """As Django's, but ``is_removed`` comes along: `save` needs it."""
        return super().only(*fields, *([] if None in fields else ["is_removed"]))

    def defer(self, *fields: Any) -> Any:
        """As Django's, but ``is_removed`` is loaded all the same: `save` needs it."""
        return super().defer(*(name for name in fields if name != "is_removed"))

    def create(self, **kwargs: Any) -> Any:
        """As Django's.

        Raises:
            RemovedExists: If a removed row holds a unique value of the new one.
        """
        with unique_conflicts.explained(self, kwargs):
            return super().create(**kwargs)

    create.alters_data = True  # type: ignore[attr-defined]


_SoftManager = models.Manager.from_queryset(SoftDeleteQuerySet)


class AllManager(_SoftManager[M]):
    """Every row, removed or not."""


class SoftDeleteManager(AllManager[M]):
    """What is not removed."""

    def get_queryset(self) -> Any:
        found = super().get_queryset()
        return found if _with_removed.get() is self.model else found.filter(is_removed=False)


class RemovedManager(AllManager[M]):
    """What is removed."""

    def get_queryset(self) -> Any:
        return super().get_queryset().filter(is_removed=True)
