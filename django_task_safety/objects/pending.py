"""The mixin that makes an object know its operations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core import checks

from django_task_safety.errors import InvalidArguments
from django_task_safety.objects.relation import NAME, OperationsRelation, is_watched
from django_task_safety.objects.saving import SavedModel
from django_task_safety.values.identity import check_identity

if TYPE_CHECKING:
    from django_task_safety.objects.relation import SubjectManager


class PendingOperationsModel(SavedModel):
    """A model that knows its operations, and whose deletes follow their ``on_delete``.

    ``note.operations`` is a related manager: ``.pending()``, ``.cancel()``, and all that a queryset can. ``save()``
    writes only what changed, and brings back nothing that is gone.
    """

    operations: SubjectManager = OperationsRelation()  # type: ignore[assignment]

    class Meta:
        abstract = True

    @classmethod
    def check(cls, **kwargs: Any) -> list[checks.CheckMessage]:
        """Its key is one that operations can know it by (E004), and the relation is in its place (E005)."""
        problems: list[checks.CheckMessage] = super().check(**kwargs)
        try:
            check_identity(cls)
        except InvalidArguments as exc:
            problems.append(checks.Error(str(exc), obj=cls, id="task_safety.E004"))
        if not is_watched(cls):
            problems.append(
                checks.Error(
                    f"{cls._meta.label} has something else by the name {NAME!r}, so that deleting one looks at no "
                    "operations.",
                    hint="Rename it.",
                    obj=cls,
                    id="task_safety.E005",
                )
            )
        return problems
