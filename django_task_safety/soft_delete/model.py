"""Models whose rows are removed without being deleted, and can be brought back with what went with them."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, ClassVar

from asgiref.sync import sync_to_async
from django.db import models, router, transaction
from django.utils.translation import gettext_lazy as _
from model_utils.models import SoftDeletableModel

from django_task_safety.locking.lockable import LockableManager
from django_task_safety.objects.pending import PendingOperationsModel
from django_task_safety.objects.saving import save_options
from django_task_safety.objects.snapshot import Snapshot
from django_task_safety.soft_delete import restore as restoring
from django_task_safety.soft_delete import unique_conflicts
from django_task_safety.soft_delete.collector import SoftCollector
from django_task_safety.soft_delete.managers import AllManager, RemovedManager, SoftDeleteManager
from django_task_safety.soft_delete.rows import LIVE


def _prefer_soft_managers(sender: type[models.Model], **kwargs: Any) -> None:
    """With `LockableModel` before this mixin in the bases, ``objects`` would not know of removed rows."""
    if issubclass(sender, SoftDeleteModel) and type(sender._meta.managers_map.get("objects")) is LockableManager:
        sender.add_to_class("objects", SoftDeleteManager())


models.signals.class_prepared.connect(_prefer_soft_managers, dispatch_uid="django_task_safety.soft_delete")


def _is_known_as_removed(instance: models.Model) -> bool:
    """Return whether the row was removed when it was read or written last."""
    known = Snapshot.of(instance)
    return known is not None and bool(known.values.get("is_removed", False)) != known.mark_rolled_back


class SoftDeleteModel(PendingOperationsModel, SoftDeletableModel):
    """A model whose ``delete()`` only marks the row as removed.

    ``objects`` and ``available_objects`` leave removed rows out, ``all_objects`` has every row, ``removed_objects`` the
    removed ones. A foreign key of another object still leads to a removed one.
    """

    #: Whether it is removed. Not for forms and serializers, since removing takes more than a mark.
    is_removed = models.BooleanField(default=False, editable=False)
    #: When it was removed, by the database's clock.
    removed_at = models.DateTimeField(_("removed at"), null=True, blank=True, editable=False)
    #: What was removed together has the same.
    removal = models.UUIDField(_("removal"), null=True, blank=True, editable=False, db_index=True)

    objects: Any = SoftDeleteManager()
    available_objects: Any = SoftDeleteManager()
    all_objects: ClassVar[Any] = AllManager()
    removed_objects: ClassVar[Any] = RemovedManager()

    class Meta:
        abstract = True

    def delete(  # type: ignore[override]
        self, using: str | None = None, keep_parents: bool = False, *, soft: bool = True
    ) -> tuple[int, dict[str, int]]:
        """Remove it, and what goes with it by the ``on_delete`` rules of the foreign keys.

        Args:
            using: The database alias; the default is that of the instance.
            keep_parents: As Django's; of a hard delete only.
            soft: False deletes for good, as `hard_delete` does.

        Returns:
            How many objects were removed, and how many of which model. ``(0, {})`` when it was removed already.

        Raises:
            ObjectLocked: If a pending operation or a held lock protects one of them.
            ProtectedError: If a foreign key does. Also Django's ``RestrictedError``.
            ValueError: If it was never saved.
        """
        if not soft:
            return self.hard_delete(using, keep_parents)
        self._require_pk("deleted")
        collector = SoftCollector(using or router.db_for_write(type(self), instance=self), origin=self)
        return collector.remove([self])

    delete.alters_data = True  # type: ignore[attr-defined]

    def hard_delete(self, using: str | None = None, keep_parents: bool = False) -> tuple[int, dict[str, int]]:
        """Delete it for good, as Django does, and what goes with it, removed or not.

        Raises:
            ObjectLocked: If a pending operation or a held lock protects one of them.
            ProtectedError: If a foreign key does. Also Django's ``RestrictedError``.
        """
        return models.Model.delete(self, using, keep_parents)

    hard_delete.alters_data = True  # type: ignore[attr-defined]

    def restore(self, using: str | None = None) -> tuple[int, dict[str, int]]:
        """Bring it back, with exactly what went together with it, and reconnect what was detached from them.

        Returns:
            How many objects came back, and how many of which model. ``(0, {})`` when it was not removed.

        Raises:
            ObjectGone: If its row was deleted for good.
            RestoreConflict: If a live row holds a unique value of one of them. Nothing was restored.
            ValueError: If it was never saved.
        """
        self._require_pk("restored")
        return restoring.restore([self], using or router.db_for_write(type(self), instance=self))

    restore.alters_data = True  # type: ignore[attr-defined]

    async def ahard_delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """As `hard_delete`."""
        return await sync_to_async(self.hard_delete)(*args, **kwargs)

    ahard_delete.alters_data = True  # type: ignore[attr-defined]

    async def arestore(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """As `restore`."""
        return await sync_to_async(self.restore)(*args, **kwargs)

    arestore.alters_data = True  # type: ignore[attr-defined]

    def save(self, *args: Any, resurrect: bool = False, **kwargs: Any) -> None:
        """Save what changed. Where ``is_removed`` was set by hand, remove the row as `delete` does, or bring it back.

        Args:
            *args: As Django's.
            resurrect: Write every column, insert the row where it is gone, and un-remove it where it was removed.
            **kwargs: As Django's.

        Raises:
            ObjectGone: If the row was deleted or removed since it was loaded. Nothing was written.
            ObjectLocked: If a pending operation or a held lock protects what it is to remove. Nothing was written.
            ProtectedError: If a foreign key does. Also Django's ``RestrictedError``.
            ValidationError: If ``is_removed`` is neither true nor false: an expression, say.
        """
        options = save_options(args, kwargs)
        using = options.get("using") or router.db_for_write(type(self), instance=self)
        revives = _is_known_as_removed(self) and (resurrect or not self._is_marked())
        if resurrect or revives:
            vars(self).update(LIVE)
            if kwargs.get("update_fields") is not None:
                kwargs["update_fields"] = {*kwargs["update_fields"], *LIVE}
        with transaction.atomic(using=using) if self._is_to_be_removed(options) else nullcontext():
            super().save(*args, resurrect=resurrect, **kwargs)
            # Again, since a receiver of pre_save may have set it.
            if removes := self._is_to_be_removed(options):
                SoftCollector(using, origin=self).remove([self])
        if removes or revives:
            Snapshot.wrote_mark(self, using)

    save.alters_data = True  # type: ignore[attr-defined]

    def validate_unique(self, exclude: Any = None) -> None:
        """As Django's, which does not see removed rows; the database does.

        Raises:
            ValidationError: Also where a removed row holds a value that must be unique.
        """
        super().validate_unique(exclude)
        if not self.is_removed:
            unique_conflicts.validate(self, exclude or ())

    def _do_update(self, base_qs: Any, using: Any, pk_val: Any, values: Any, *rest: Any, **named: Any) -> Any:
        if self._call() is not None and self._is_marked():
            # Only what follows the rules removes a row, and this one may be removed already.
            values = [one for one in values if one[0].name != "is_removed"]
        return super()._do_update(base_qs, using, pk_val, values, *rest, **named)

    def _save_condition(self, model: type[models.Model], loaded: Snapshot | None) -> dict[str, Any]:
        here = any(field.name == "is_removed" for field in model._meta.local_concrete_fields)
        if loaded is None or "is_removed" not in loaded.values:
            removed = self._is_marked()
        else:
            removed = _is_known_as_removed(self)
        return {"is_removed": False} if here and not removed else {}

    def _is_to_be_removed(self, options: Mapping[str, Any]) -> bool:
        """Return whether `save` is told to remove a row that it does not insert."""
        names = options.get("update_fields")
        asked = self._is_marked() and (names is None or "is_removed" in names)
        inserts = self.pk is None or bool(options.get("force_insert"))
        return asked and not inserts and not _is_known_as_removed(self)

    def _is_marked(self) -> bool:
        """Return whether ``is_removed`` is set, as Django would write it. Raises ``ValidationError`` where nobody can
        tell, as of an expression."""
        field: Any = self._meta.get_field("is_removed")
        return bool(field.get_prep_value(vars(self).get("is_removed", False)))

    def _require_pk(self, what: str) -> None:
        if self.pk is None:
            raise ValueError(f"This {self._meta.object_name} was never saved, so that it can't be {what}.")
