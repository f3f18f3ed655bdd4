"""Every way in which Django is asked to delete an object, and what that must do to the object's operations."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import pytest
from django.db.models.deletion import Collector, ProtectedError

from django_task_safety import ObjectLocked
from django_task_safety.models import Operation
from tests.support.factories import ChapterFactory, CityFactory, FolderFactory, PageFactory, SheetFactory
from tests.support.operations import state
from tests.testapp import guarded_tasks as tasks
from tests.testapp.models import Chapter, City, Folder, Page, PinnedPage

State = Operation.State
#: How to make an object, and how to delete it.
Path = tuple[Callable[[], Any], Callable[[Any], object]]
Around = Callable[[], AbstractContextManager[object]]


def collect_and_delete(obj):
    collector = Collector(using="default", origin=obj)
    collector.collect([obj])
    return collector.delete()


in_folder = partial(PageFactory, in_folder=True)

PATHS: dict[str, Path] = {
    "instance": (PageFactory, lambda obj: obj.delete()),
    "queryset": (PageFactory, lambda obj: Page.objects.filter(pk=obj.pk).delete()),
    "queryset of many": (lambda: PageFactory.create_batch(2)[1], lambda obj: Page.objects.all().delete()),
    "collector": (PageFactory, collect_and_delete),
    "uuid": (SheetFactory, lambda obj: obj.delete()),
    "string": (CityFactory, lambda obj: City.objects.all().delete()),
    "cascade": (in_folder, lambda obj: obj.folder.delete()),
    "cascade from a queryset": (in_folder, lambda obj: Folder.objects.all().delete()),
    "two cascades": (lambda: SheetFactory(page=in_folder()), lambda obj: Folder.objects.all().delete()),
    "proxy": (PageFactory, lambda obj: PinnedPage.objects.get(pk=obj.pk).delete()),
    "proxy queryset": (PageFactory, lambda obj: PinnedPage.objects.all().delete()),
    "child": (ChapterFactory, lambda obj: obj.delete()),
    "child queryset": (ChapterFactory, lambda obj: Chapter.objects.all().delete()),
    "parent of a child": (ChapterFactory, lambda obj: Page.objects.get(pk=obj.pk).delete()),
    "child without its parent": (ChapterFactory, lambda obj: obj.delete(keep_parents=True)),
    "cascade to a child": (lambda: ChapterFactory(in_folder=True), lambda obj: Folder.objects.all().delete()),
    "many-to-many": (lambda: linked(), lambda obj: obj.delete()),
}


def linked():
    one = PageFactory()
    one.linked.add(PageFactory())
    return one


def assert_delete_cancels(path: Path, around: Around) -> None:
    """Assert that the delete cancels what is pending on the object, and nothing else."""
    make, delete = path
    obj = make()
    queued, scheduled = tasks.cancelled_with.enqueue(obj, 1), tasks.cancelled_with.apply_async((obj, 2), countdown=1e6)
    other = tasks.cancelled_with.enqueue(FolderFactory())
    with around():
        delete(obj)
    assert state(queued) == State.CANCELLED
    assert Operation.objects.get(pk=scheduled.id).state == State.CANCELLED
    assert "was deleted" in Operation.objects.get(pk=queued.pk).error
    assert state(other) == State.QUEUED


def assert_delete_is_refused(path: Path, around: Around) -> None:
    """Assert that a protected object stays, and that the refusal names the operation."""
    make, delete = path
    obj = make()
    operation = tasks.protects.enqueue(obj)
    cancelled = tasks.cancelled_with.enqueue(obj)
    with around():
        with pytest.raises(ProtectedError) as refusal:
            delete(obj)
        # A transaction of the caller's goes on.
        assert type(obj).objects.filter(pk=obj.pk).exists()
    assert type(refusal.value) is ObjectLocked
    assert refusal.value.operation == operation
    assert refusal.value.protected_objects == {operation}
    assert str(operation.pk) in str(refusal.value)
    assert type(obj).objects.filter(pk=obj.pk).exists()
    assert state(operation) == state(cancelled) == State.QUEUED
