"""Delete for good what was removed long ago."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from django.apps import apps
from django.db import models, router, transaction
from django.db.models import ProtectedError, RestrictedError
from django.db.models.deletion import get_candidate_relations_to_delete

from django_task_safety.soft_delete import detachment
from django_task_safety.soft_delete.collector import ByClass
from django_task_safety.soft_delete.model import SoftDeleteModel
from django_task_safety.soft_delete.rows import is_soft
from django_task_safety.values import clock


@dataclasses.dataclass(slots=True)
class Purged:
    """What a purge did."""

    #: How many objects of which model it deleted, what went with them included; with ``dry_run``, it would try to.
    deleted: Counter[str] = dataclasses.field(default_factory=Counter)
    #: The objects that are protected, and by what.
    skipped: list[tuple[models.Model, str]] = dataclasses.field(default_factory=list)


def soft_models() -> list[type[SoftDeleteModel]]:
    """Return the soft-deletable models of the project, children before what their foreign keys point to."""
    found: dict[type[models.Model], None] = {}
    visited: set[type[models.Model]] = set()

    def visit(model: type[models.Model]) -> None:
        if model in visited:
            return
        visited.add(model)
        for related in get_candidate_relations_to_delete(model._meta):
            assert related.related_model is not None
            visit(related.related_model)
        found[model] = None

    for model in apps.get_models():
        visit(model)
    return [model for model in found if issubclass(model, SoftDeleteModel) and not model._meta.proxy]


def purge(
    older_than: float,
    chosen: list[type[SoftDeleteModel]] | None = None,
    batch: int = 500,
    dry_run: bool = False,
    watched: Callable[[Iterator[list[Any]]], Iterator[list[Any]]] = iter,
) -> Purged:
    """Delete removed rows for good, and what goes with them; each batch in a transaction of its own.

    Args:
        older_than: Seconds since they were removed, by the database's clock. Rows of which it is not known when they
            were removed stay.
        chosen: The models; the default is all soft-deletable ones.
        batch: How many rows one transaction deletes.
        dry_run: Only count them.
        watched: Passes the batches on, and hears of each that is done.
    """
    purged = Purged()
    chosen = soft_models() if chosen is None else chosen
    if dry_run:
        purged.deleted.update({model._meta.label: _due(model, older_than).count() for model in chosen})
    else:
        for objs in watched(chain.from_iterable(_batches(_due(model, older_than), batch) for model in chosen)):
            _purge(objs, router.db_for_write(type(objs[0])), purged)
    for using in () if dry_run else {router.db_for_write(model) for model in chosen}:
        if router.allow_migrate_model(using, detachment.Detachment):
            there = [model for model in soft_models() if router.allow_migrate_model(using, model)]
            detachment.forget(there, using)
    purged.deleted += Counter()
    return purged


def _due(model: type[SoftDeleteModel], older_than: float) -> models.QuerySet[Any]:
    rows: models.QuerySet[Any] = model.removed_objects.using(router.db_for_write(model)).order_by("pk")
    return rows.filter(removed_at__lte=clock.After(-older_than))


def _batches(due: models.QuerySet[Any], batch: int) -> Iterator[list[Any]]:
    """Yield the rows in turn; those that stay are passed over."""
    objs = list(due[:batch])
    while objs:
        last = objs[-1].pk
        yield objs
        objs = list(due.filter(pk__gt=last)[:batch])


def _purge(objs: list[Any], using: str, purged: Purged) -> None:
    try:
        with transaction.atomic(using=using):
            counts = _delete(objs, using)
    except (ProtectedError, RestrictedError) as exc:
        if len(objs) == 1:
            purged.skipped.append((objs[0], str(exc.args[0])))
        else:
            # Find the protected ones, without giving up the rest.
            middle = len(objs) // 2
            _purge(objs[:middle], using, purged)
            _purge(objs[middle:], using, purged)
    else:
        purged.deleted.update(counts)


def _delete(objs: list[Any], using: str) -> dict[str, int]:
    """Delete what is still removed: somebody may have restored one since."""
    rows = type(objs[0]).removed_objects.using(using).filter(pk__in=[obj.pk for obj in objs])
    still = list(rows.select_for_update())
    collector = _Collector(using, origin=rows)
    collector.collect(still)
    if collector.live:
        one = min(collector.live, key=lambda obj: (obj._meta.label, obj.pk))
        raise ProtectedError(
            f"It has live children, {one._meta.label} {one.pk} for one. Delete them first, or give them to another.",
            collector.live,
        )
    return collector.delete()[1]


class _Collector(ByClass):
    """Django's; it notes what is live among what would go, a child that was restored alone for example."""

    def __init__(self, using: str, origin: Any) -> None:
        super().__init__(using, origin)
        self.live: set[models.Model] = set()

    def collect_class(self, objs: Any, source: Any = None, *args: Any, **kwargs: Any) -> None:
        if is_soft(source):
            self.live.update(obj for obj in objs if is_soft(type(obj)) and not obj.is_removed)
        super().collect_class(objs, source, *args, **kwargs)

    def can_fast_delete(self, objs: Any, from_field: Any = None) -> bool:
        return not is_soft(getattr(objs, "model", type(objs))) and super().can_fast_delete(objs, from_field)
