"""Managers and querysets of models that can be locked."""

from __future__ import annotations

from typing import Any

from django.db import models

from django_task_safety.locking import lock_rows


class LockableQuerySet(models.QuerySet[Any]):
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
        pks = list(chosen.order_by("pk").values_list("pk", flat=True))
        with lock_rows.unlocked(self.model, pks, chosen.db):
            return super().update(**kwargs)

    update.alters_data = True  # type: ignore[attr-defined]


LockableManager = models.Manager.from_queryset(LockableQuerySet)
