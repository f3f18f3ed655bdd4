"""Drafts, and what another process does to their rows."""

from typing import Any

from django.db.models import Model

from tests.notesapp.models import Draft


def draft(**values: Any) -> Draft:
    return Draft.objects.create(**{"title": "a", **values})


def vanish(obj: Model) -> None:
    """Delete the row as another process does, so that the instance does not hear of it."""
    type(obj)._base_manager.get(pk=obj.pk).delete()


def write(obj: Model, **values: Any) -> None:
    """Update the row as another process does."""
    type(obj)._base_manager.filter(pk=obj.pk).update(**values)
