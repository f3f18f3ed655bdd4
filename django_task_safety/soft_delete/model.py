"""Models whose rows are removed without being deleted, and can be brought back with what went with them."""

from typing import Any, ClassVar

from asgiref.sync import sync_to_async
from django.db import models, router
from django.utils.translation import gettext_lazy as _
from model_utils.models import SoftDeletableModel

from django_task_safety.locking.lockable import LockableManager
from django_task_safety.objects.pending import PendingOperationsModel
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


class SoftDeleteModel(PendingOperationsModel, SoftDeletableModel):
    """A model whose ``delete()`` only marks the row as removed.

    ``objects`` and ``available_objects`` leave removed rows out, ``all_objects`` has every row, ``removed_objects`` the
    removed ones. A foreign key of another object still leads to a removed one.
    """

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
        """Save what changed; ``is_removed`` takes ``removed_at`` and ``removal`` along.

        Args:
            *args: As Django's.
            resurrect: Write every column, insert the row where it is gone, and un-remove it where it was removed.
            **kwargs: As Django's.

        Raises:
            ObjectGone: If the row was deleted or removed since it was loaded. Nothing was written.
        """
        known = Snapshot.of(self)
        was_removed = known is not None and known.values.get("is_removed", False)
        if resurrect or (was_removed and not self.is_removed):
            vars(self).update(LIVE)
            if kwargs.get("update_fields") is not None:
                kwargs["update_fields"] = {*kwargs["update_fields"], *LIVE}
        super().save(*args, resurrect=resurrect, **kwargs)

    save.alters_data = True  # type: ignore[attr-defined]

    def validate_unique(self, exclude: Any = None) -> None:
        """As Django's, which does not see removed rows; the database does.

        Raises:
            ValidationError: Also where a removed row holds a value that must be unique.
        """
        super().validate_unique(exclude)
        if not self.is_removed:
            unique_conflicts.validate(self, exclude or ())

    def _save_condition(self, model: type[models.Model], loaded: Snapshot | None) -> dict[str, Any]:
        known = self.__dict__ | (loaded.values if loaded else {})
        here = any(field.name == "is_removed" for field in model._meta.local_concrete_fields)
        return {"is_removed": False} if here and not known.get("is_removed", False) else {}

    def _require_pk(self, what: str) -> None:
        if self.pk is None:
            raise ValueError(f"This {self._meta.object_name} was never saved, so that it can't be {what}.")
