"""Django system checks: models with the mixins, whose locks or managers cannot do what they promise."""

from collections.abc import Collection, Iterator
from typing import Any

from django.apps import apps
from django.core import checks
from django.db import models

from django_task_safety.locking.lockable import LockableModel, LockableQuerySet
from django_task_safety.soft_delete.managers import AllManager, SoftDeleteQuerySet
from django_task_safety.soft_delete.model import SoftDeleteModel
from django_task_safety.soft_delete.unique_conflicts import unique_including_removed

#: What a lock can block.
_BLOCKABLE = frozenset({"delete", "save"})


def check_models(app_configs: Any = None, **kwargs: Any) -> list[checks.CheckMessage]:
    """Locks, removed rows and managers are what the mixins promise (E006, W004, W007, W008)."""
    configs = apps.get_app_configs() if app_configs is None else app_configs
    every: list[Any] = [model for config in configs for model in config.get_models()]
    problems: list[checks.CheckMessage] = []
    for model in every:
        if issubclass(model, LockableModel):
            problems += _check_locks(model)
        if issubclass(model, SoftDeleteModel):
            problems += _check_soft_managers(model)
            problems += [] if model._meta.proxy else _check_removed_rows(model)
    return problems


def _check_locks(model: Any) -> Iterator[checks.CheckMessage]:
    blocks = model.lock_blocks
    named = isinstance(blocks, Collection) and not isinstance(blocks, str)
    if not (named and _BLOCKABLE.issuperset(blocks)):
        yield checks.Error(
            f"{model._meta.label}.lock_blocks is {blocks!r}, but a lock can block 'delete' and 'save'.",
            hint='Write frozenset({"delete", "save"}), or a part of it.',
            obj=model,
            id="task_safety.E006",
        )
    elif "save" in blocks:
        yield from _check_lock_managers(model)


def _check_removed_rows(model: Any) -> Iterator[checks.CheckMessage]:
    for names in unique_including_removed(model):
        yield checks.Warning(
            f"{model._meta.label} is unique by {', '.join(names)} among removed rows as well: what is removed goes on "
            "holding its value, and nobody else can have it.",
            hint="Use LiveUniqueConstraint instead, or silence this where that is what you want.",
            obj=model,
            id="task_safety.W004",
        )
    if model._base_manager.all().query.where:
        yield checks.Warning(
            f"The base manager of {model._meta.label} leaves out rows: foreign keys do not lead to removed objects, "
            "which cannot be saved or refreshed, and hard_delete() of a parent leaves its removed children.",
            hint='Let base_manager_name be "all_objects", or leave it out.',
            obj=model,
            id="task_safety.W007",
        )


def _check_soft_managers(model: type[models.Model]) -> Iterator[checks.CheckMessage]:
    for manager in model._meta.managers:
        if not (isinstance(manager, AllManager) and _makes(manager, SoftDeleteQuerySet)):
            yield _foreign(
                f"{model._meta.label}.{manager.name} is no soft manager: it may show removed rows, or delete for good.",
                "Derive the manager from SoftDeleteManager, and its queryset from SoftDeleteQuerySet.",
                model,
            )


def _check_lock_managers(model: type[models.Model]) -> Iterator[checks.CheckMessage]:
    for manager in model._meta.managers:
        if not _makes(manager, LockableQuerySet):
            yield _foreign(
                f"{model._meta.label}.{manager.name} does not look at locks: its update() saves what is locked.",
                "Derive its queryset from LockableQuerySet.",
                model,
            )


def _makes(manager: Any, queryset: type[Any]) -> bool:
    return issubclass(manager._queryset_class, queryset)


def _foreign(message: str, hint: str, model: type[models.Model]) -> checks.CheckMessage:
    where = "These are in django_task_safety.managers; silence this where it is what you want."
    return checks.Warning(message, hint=f"{hint} {where}", obj=model, id="task_safety.W008")
