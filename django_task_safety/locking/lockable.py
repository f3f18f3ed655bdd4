"""The mixin that gives an object its locks, and the queryset that looks at them."""

from collections.abc import Set as AbstractSet
from datetime import timedelta
from typing import Any, ClassVar, TypeVar

from django.db import models, router

from django_task_safety.locking import lock_rows
from django_task_safety.locking.locks import Lock
from django_task_safety.objects.pending import PendingOperationsModel
from django_task_safety.objects.saving import save_options
from django_task_safety.values.identity import Identity, database_of, pk_of, root_key, root_model

M = TypeVar("M", bound=models.Model)


class LockableQuerySet(models.QuerySet[M]):
    """A queryset of objects that can be locked: ``update()`` is refused where the model's ``lock_blocks`` say so."""

    def update(self, **kwargs: Any) -> int:
        """Update the rows, unless somebody else holds a lock on one of them and that blocks ``"save"``.

        Raises:
            ObjectLocked: Naming the holders.
        """
        if "save" not in getattr(self.model, "lock_blocks", ()):
            return super().update(**kwargs)
        chosen: Any = self._chain()  # type: ignore[attr-defined]
        chosen._for_write = True
        key = pk_of(root_model(self.model)).attname
        pks = list(chosen.order_by("pk").values_list(key, flat=True))
        using = database = chosen.db
        if pks and router.routers:
            # They may ask the instance. Objects of one alias are written to one database, as where they are deleted.
            first = self.model._base_manager.using(using).filter(**{key: pks[0]}).first()
            database = database_of(first, using) if first is not None else using
        with lock_rows.unlocked(self.model, pks, using, database):
            return super().update(**kwargs)

    update.alters_data = True  # type: ignore[attr-defined]


LockableManager = models.Manager.from_queryset(LockableQuerySet)


class LockableModel(PendingOperationsModel):
    """A model whose objects can be locked, by blocks of code and by tasks with ``lock=…`` alike."""

    #: What others cannot do to a locked object, "delete", "save", or both.
    lock_blocks: ClassVar[AbstractSet[str]] = frozenset({"delete"})

    objects = LockableManager()

    class Meta:
        abstract = True

    def lock(self, name: str = "lock", *, wait: float | timedelta = 0, lease: float | timedelta | None = None) -> Lock:
        """Return a lock on this object, for a ``with`` statement.

        Args:
            name: Locks with different names do not exclude each other.
            wait: Seconds to wait for it.
            lease: Seconds after which it ends by itself when this process has died; renewed while it lives. The default
                is the setting ``LEASE``.

        Raises:
            InvalidOption: For a name, a wait or a lease that cannot work.
        """
        return Lock(self, name, wait, lease)

    def is_locked(self, name: str | None = None) -> bool:
        """Return whether somebody holds the lock ``name``, or any lock, on this object now.

        Raises:
            InvalidArguments: If it was never saved.
        """
        identity = Identity.of(self)
        return lock_rows.locks_on(type(self), [identity.pk], identity.database, name).exists()

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the object, unless somebody else holds a lock on it and ``lock_blocks`` says that this blocks "save".

        Raises:
            ObjectLocked: Naming the holders.
        """
        options, key = save_options(args, kwargs), root_key(self)
        # What is made by hand with the key of a row writes that row.
        if "save" not in self.lock_blocks or key is None or options.get("force_insert"):
            super().save(*args, **kwargs)
            return
        using = options.get("using") or router.db_for_write(type(self), instance=self)
        with lock_rows.unlocked(type(self), [key], using, database_of(self, using)):
            super().save(*args, **kwargs)

    save.alters_data = True  # type: ignore[attr-defined]
