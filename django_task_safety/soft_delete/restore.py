"""Bring back what was removed together."""

import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.db import IntegrityError, models, transaction
from django.db.models.deletion import DO_NOTHING, PROTECT, RESTRICT, get_candidate_relations_to_delete

from django_task_safety.errors import ObjectGone, RestoreConflict
from django_task_safety.objects.snapshot import Snapshot
from django_task_safety.soft_delete import detachment
from django_task_safety.soft_delete.rows import LIVE, by_class, by_holder, cascades, is_soft, key_in, rows
from django_task_safety.values.chunks import chunks

#: Django's rules by which nothing goes along, apart from SET() and those of the database.
_STAY = {models.SET_DEFAULT, PROTECT, RESTRICT, DO_NOTHING}


def restore(roots: Sequence[models.Model], using: str) -> tuple[int, dict[str, int]]:
    """Bring back objects of one model, each with what went with it by a cascade; as their own ``restore()`` says."""
    counts: Counter[str] = Counter()
    try:
        with transaction.atomic(using=using):
            for removal, removed in _locked(roots, using).items():
                counts += _restore(removal, removed, using)
    except IntegrityError as exc:
        names = ", ".join(f"{obj._meta.label} {obj.pk}" for obj in roots[:3])
        raise RestoreConflict(
            f"{names} cannot be restored: a live row holds a value that must be unique ({exc}). Change or remove that "
            "one, or change this one's value first. Nothing was restored."
        ) from exc
    return sum(counts.values()), dict(counts)


def _locked(roots: Sequence[models.Model], using: str) -> dict[uuid.UUID | None, list[models.Model]]:
    """Lock the rows and return the removed ones, by what went together."""
    found: dict[uuid.UUID | None, list[models.Model]] = {}
    for model, keys in by_holder(roots).items():
        state = {}
        for chunk in chunks(keys):
            locked = rows(model, using).filter(pk__in=chunk).order_by("pk").select_for_update()
            state.update({pk: rest for pk, *rest in locked.values_list("pk", "is_removed", "removal")})
        for root in roots:
            if key_in(model, root) not in state:
                raise ObjectGone(f"{root._meta.label} {root.pk} was deleted for good; there is nothing to restore.")
            is_removed, removal = state[key_in(model, root)]
            if is_removed:
                found.setdefault(removal, []).append(root)
    return found


def _restore(removal: uuid.UUID | None, roots: list[models.Model], using: str) -> Counter[str]:
    objs = list(_with_parents([*roots, *_went_along(removal, roots, using)]))
    for model, keys in by_holder(objs).items():
        for chunk in chunks(keys):
            rows(model, using).filter(pk__in=chunk, is_removed=True).update(**LIVE)
    if removal is not None:
        detachment.reconnect(removal, objs, using)
    for obj in objs:
        vars(obj).update(LIVE)
        Snapshot.update(obj, LIVE)
    return Counter(type(obj)._meta.label for obj in objs)


def _went_along(removal: uuid.UUID | None, roots: list[models.Model], using: str) -> Iterator[models.Model]:
    """Yield what the same removal took along from below the roots, level by level."""
    seen = set(roots)
    levels = list(by_class(roots).values()) if removal else []
    while levels:
        for children in _children(levels.pop(), using):
            # Locked, so that nobody restores and removes them again before this is done.
            found = children.filter(is_removed=True, removal=removal).order_by("pk").select_for_update()
            new = [obj for obj in found if obj not in seen]
            seen.update(new)
            yield from new
            if new:
                levels.append(new)


def _children(objs: Sequence[models.Model], using: str) -> Iterator[models.QuerySet[Any]]:
    """Yield what may have gone with objects of one model."""
    meta = type(objs[0])._meta
    related: Any
    for related in get_candidate_relations_to_delete(meta):
        field = related.field
        if is_soft(related.related_model) and _may_cascade(field.remote_field.on_delete):
            for chunk in chunks(objs):
                yield rows(related.related_model, using).filter(**{f"{field.name}__in": chunk})
    for generic in meta.private_fields:
        if is_soft(generic.related_model) and hasattr(generic, "bulk_related_objects"):
            for chunk in chunks(objs):
                yield generic.bulk_related_objects(chunk, using)


def _may_cascade(on_delete: Any) -> bool:
    """A project's own rule may have cascaded; Django's others have not."""
    if cascades(on_delete):
        return True
    stays = getattr(on_delete, "lazy_sub_objs", False) or on_delete in _STAY
    return not stays and not hasattr(on_delete, "forced_collector") and not hasattr(on_delete, "deconstruct")


def _with_parents(objs: Iterable[models.Model]) -> Iterable[models.Model]:
    """Return the objects, and their rows in the tables of soft-deletable parents, which Django counts as well."""
    return dict.fromkeys(one for obj in objs for one in (obj, *_parents(obj)))


def _parents(obj: models.Model) -> Iterator[models.Model]:
    for link in (obj._meta.concrete_model or type(obj))._meta.parents.values():
        if link is not None and is_soft(link.related_model):
            parent: models.Model = getattr(obj, link.name)
            yield parent
            yield from _parents(parent)
