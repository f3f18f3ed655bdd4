"""Paths to a delete that lead through other things: the admin, generic relations, many-to-many through rows."""

import pytest
from django.contrib.admin.models import LogEntry
from django.db import transaction
from django.urls import reverse

from django_task_safety import ObjectLocked
from django_task_safety.models import Operation
from tests.support.factories import PageFactory
from tests.support.operations import state
from tests.testapp import guarded_tasks as tasks
from tests.testapp.models import Folder, Page, Placing, Remark, Shelf

State = Operation.State
pytestmark = pytest.mark.django_db(transaction=True)


def through_row():
    shelf, page = Shelf.objects.create(), PageFactory()
    return Placing.objects.create(shelf=shelf, page=page)


THROUGH = {
    "remove": lambda row: row.shelf.pages.remove(row.page),
    "clear": lambda row: row.shelf.pages.clear(),
    "set": lambda row: row.shelf.pages.set([]),
    "the other side": lambda row: row.page.shelves.clear(),
    "cascade": lambda row: row.page.delete(),
    "cascade from a queryset": lambda row: Shelf.objects.all().delete(),
}


@pytest.mark.parametrize("delete", THROUGH.values(), ids=THROUGH)
def test_deletes_of_rows_between_many_to_many_objects_follow_the_tasks_on_delete(delete):
    row = through_row()
    operation = tasks.protects.enqueue(row)
    with pytest.raises(ObjectLocked):
        delete(row)
    assert Placing.objects.get() == row
    operation.cancel()
    cancelled = tasks.cancelled_with.enqueue(row)
    delete(row)
    assert not Placing.objects.exists()
    assert state(cancelled) == State.CANCELLED


@pytest.mark.parametrize("delete", [lambda folder: folder.delete(), lambda folder: Folder.objects.all().delete()])
def test_deletes_of_children_by_a_generic_relation_follow_the_tasks_on_delete(delete):
    folder = Folder.objects.create(name="x")
    remark = Remark.objects.create(about=folder)
    operation = tasks.protects.enqueue(remark)
    with transaction.atomic():
        with pytest.raises(ObjectLocked) as refusal:
            delete(folder)
        assert Folder.objects.filter(name="x").exists()
    assert refusal.value.operation == operation
    operation.cancel()
    cancelled = tasks.cancelled_with.enqueue(remark)
    delete(folder)
    assert not Remark.objects.exists()
    assert state(cancelled) == State.CANCELLED


def delete_page(client, page, **data):
    return client.post(reverse("admin:testapp_page_delete", args=[page.pk]), data, follow=True)


def delete_selected(client, page, **data):
    data = {"action": "delete_selected", "_selected_action": [page.pk], **data}
    return client.post(reverse("admin:testapp_page_changelist"), data, follow=True)


@pytest.mark.parametrize("delete", [delete_page, delete_selected])
def test_the_admin_shows_the_operations_that_protect_an_object_and_deletes_nothing(admin_client, delete):
    page = PageFactory()
    operation = tasks.protects.enqueue(page)
    shown = admin_client.get(reverse("admin:testapp_page_delete", args=[page.pk])).content.decode()
    assert str(operation.pk) in shown
    for data in ({}, {"post": "yes"}):
        response = delete(admin_client, page, **data)
        assert response.status_code == 200
        assert str(operation.pk) in response.content.decode()
    assert Page.objects.get() == page
    assert state(operation) == State.QUEUED
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("delete", [delete_page, delete_selected])
def test_the_admin_cancels_operations_when_it_deletes_and_not_when_it_asks(admin_client, delete):
    page = PageFactory()
    operation = tasks.cancelled_with.enqueue(page)
    delete(admin_client, page)
    assert state(operation) == State.QUEUED
    delete(admin_client, page, post="yes")
    assert not Page.objects.exists()
    assert state(operation) == State.CANCELLED
