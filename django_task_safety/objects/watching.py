"""Watch models that one cannot edit."""

from typing import TypeVar

from django.db import models

from django_task_safety.errors import InvalidArguments

M = TypeVar("M", bound=type[models.Model])


def watch(model: M) -> M:
    """Give a model that one cannot edit the relation ``operations``, and have its deletes look at them.

    To be called in ``AppConfig.ready``. Calling it again changes nothing.

    Args:
        model: A model with a table of its own, or a proxy of one; its subclasses and proxies are watched as well.

    Returns:
        The model.

    Raises:
        InvalidArguments: If the model is abstract, unmanaged, or made by Django for a many-to-many relation; if it has
            an ``operations`` of its own, or a primary key that is neither a whole number, nor a UUID, nor a string.
    """
    # A project names this in its apps.py, which is read before there may be models.
    from django_task_safety.objects.relation import attach_relation
    from django_task_safety.values.identity import check_identity

    if not isinstance(model, type) or not issubclass(model, models.Model):
        raise InvalidArguments(f"watch() takes a model class, not {model!r}.")
    if model._meta.abstract:
        raise InvalidArguments(f"{model.__name__} is abstract; watch() the models that derive from it.")
    if model._meta.auto_created:
        raise InvalidArguments(
            f"{model._meta.label} was made by Django, which sends no signals when it deletes its rows; it isn't "
            "watched. Give the many-to-many relation a model of your own (through=...)."
        )
    if not model._meta.managed:
        raise InvalidArguments(
            f"{model._meta.label} is unmanaged: Django may not know of its deletes. It isn't watched."
        )
    check_identity(model)
    attach_relation(model._meta.concrete_model or model)
    return model
