"""The ways to remove an object, and looks at its row."""

from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from tests.notesapp.models import Note


def note(**values: Any) -> Note:
    return Note.objects.create(**{"title": "a", **values})


def fresh(obj: Any) -> Any:
    return type(obj)._base_manager.get(pk=obj.pk)


def is_removed(obj: Any) -> bool:
    return fresh(obj).is_removed


def by_instance(obj: Any) -> tuple[int, dict[str, int]]:
    return obj.delete()


def by_queryset(obj: Any) -> tuple[int, dict[str, int]]:
    return type(obj).objects.filter(pk=obj.pk).delete()


def by_all_objects(obj: Any) -> tuple[int, dict[str, int]]:
    return type(obj).all_objects.filter(pk=obj.pk).delete()


def by_stale_instance(obj: Any) -> tuple[int, dict[str, int]]:
    return fresh(obj).delete()


def asynchronously(obj: Any) -> tuple[int, dict[str, int]]:
    return async_to_sync(obj.adelete)()


WAYS = [by_instance, by_queryset, by_all_objects, by_stale_instance, asynchronously]


Way = Callable[[Any], tuple[int, dict[str, int]]]


every_way = pytest.mark.parametrize("delete", WAYS)
