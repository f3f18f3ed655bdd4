"""The mixin that makes an object know its operations."""

from typing import Any

from django.core import checks

from django_task_safety.errors import InvalidArguments
from django_task_safety.objects.relation import NAME, OperationsRelation, SubjectManager, is_watched
from django_task_safety.objects.saving import SavedModel
from django_task_safety.values.identity import check_identity


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
            there = f"{cls._meta.label} has something else by the name {NAME!r}"
            text = f"{there}, so that deleting one looks at no operations."
            problems.append(checks.Error(text, hint="Rename it.", obj=cls, id="task_safety.E005"))
        return problems
