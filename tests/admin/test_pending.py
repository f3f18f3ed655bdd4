"""What is pending on an object is seen on its page in the admin, also where it forbids a delete."""

import re

import pytest
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth.management import create_permissions
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from django_task_safety import KEEP, PROTECT, safe_task
from django_task_safety.admin import PendingOperationsAdminMixin
from django_task_safety.models import Operation
from tests.notesapp.models import Copy, Note, Receipt
from tests.notesapp.ways import is_removed
from tests.support.factories import CityFactory, PageFactory
from tests.support.operations import state
from tests.testapp.models import City, Page

pytestmark = pytest.mark.django_db


@safe_task(on_delete=PROTECT, title="Print <i>{page}</i>")
def prints(page: Page) -> None: ...


@safe_task(on_delete=KEEP)
def reads(page: Page) -> None: ...


@safe_task(on_delete=PROTECT)
def maps(city: City) -> None: ...


@safe_task(on_delete=PROTECT)
def copies(note: Note) -> None: ...


def url(obj, page: str = "delete") -> str:
    meta = obj._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_{page}", args=[obj.pk])


def text(response) -> str:
    assert response.status_code == 200, response
    return response.content.decode()


def press(client, obj, page: str, **more):
    """Press the button of the page that was read before."""
    operations = re.findall(r'<input type="hidden" name="operation" value="([^"]+)"', page)
    return client.post(
        url(obj), {"post": "yes", "cancel_and_delete": "x", "operation": operations, **more}, follow=True
    )


def test_the_page_of_an_object_shows_its_operations_and_what_is_pending(admin_client):
    page = PageFactory()
    waiting, done = prints.enqueue(page), reads.enqueue(page)
    done.cancel()
    shown = text(admin_client.get(url(page, "change")))
    pending = shown[shown.index("Pending operations") :]
    assert "Print &lt;i&gt;Page" in pending
    assert reverse("admin:django_task_safety_operation_change", args=[waiting.pk]) in pending
    assert "Reads" not in pending
    assert "Reads" in shown[: shown.index("Pending operations")]


def test_an_inline_shows_the_newest_of_many_in_one_statement_and_leads_to_all(admin_client):
    page = PageFactory()
    reads.enqueue_many([(page,)] * 30)
    with CaptureQueriesContext(connection) as seen:
        shown = text(admin_client.get(url(page, "change")))
    assert sum("django_task_safety_operation" in one["sql"] for one in seen) == 2
    assert shown.count("Reads") == 10 + 20
    assert f"?q=testapp.page%3A{page.pk}" in shown


def test_the_page_of_an_object_with_operations_can_be_saved(admin_client):
    page = PageFactory()
    prints.enqueue(page)
    assert admin_client.post(url(page, "change"), {"title": "new"}).status_code == 302
    page.refresh_from_db()
    assert page.title == "new"
    assert admin_client.post(reverse("admin:testapp_page_add"), {"title": "newer"}).status_code == 302


def test_operations_are_not_shown_to_whom_may_not_see_them(staff, django_user_model):
    create_permissions(apps.get_app_config("testapp"), verbosity=0)
    page = PageFactory()
    prints.enqueue(page)
    assert "Print" not in text(staff("view_page").get(url(page, "change")))
    assert "Print" in text(staff("view_page", "view_operation").get(url(page, "change")))


def test_a_refused_delete_shows_the_operations_and_a_button_that_cancels_them_and_deletes(admin_client, admin_user):
    page = PageFactory()
    first, second = prints.enqueue(page), prints.enqueue(page)
    shown = text(admin_client.get(url(page)))
    assert "cannot be deleted while these operations are pending" in shown
    assert reverse("admin:django_task_safety_operation_change", args=[first.pk]) in shown
    done = press(admin_client, page, shown)
    assert "was deleted successfully" in text(done)
    assert not Page.objects.exists()
    assert [state(one) for one in (first, second)] == ["cancelled", "cancelled"]
    assert [event.by for event in Operation.objects.get(pk=first.pk).events] == [str(admin_user.pk)]
    assert LogEntry.objects.filter(object_id=str(first.pk)).exists()


def test_the_button_refuses_where_something_else_was_asked_for_meanwhile(admin_client):
    page = PageFactory()
    first = prints.enqueue(page)
    shown = text(admin_client.get(url(page)))
    second = prints.enqueue(page)
    assert "Nothing was changed" in text(press(admin_client, page, shown))
    assert [state(one) for one in (first, second)] == ["queued", "queued"]
    assert Page.objects.filter(pk=page.pk).exists()


def test_the_button_changes_nothing_where_somebody_asks_for_more_while_it_works(admin_client, monkeypatch):
    page = PageFactory()
    first = prints.enqueue(page)
    shown = text(admin_client.get(url(page)))
    delete = PendingOperationsAdminMixin.delete_model

    def late(self, request, obj):
        prints.enqueue(page)
        delete(self, request, obj)

    monkeypatch.setattr(PendingOperationsAdminMixin, "delete_model", late)
    assert "Nothing was changed" in text(press(admin_client, page, shown))
    assert state(first) == "queued"
    assert Operation.objects.count() == 1
    assert Page.objects.filter(pk=page.pk).exists()


def test_a_delete_that_somebody_comes_before_is_refused_with_words(admin_client, monkeypatch):
    page = PageFactory()
    delete = PendingOperationsAdminMixin.delete_model

    def late(self, request, obj):
        prints.enqueue(page)
        delete(self, request, obj)

    monkeypatch.setattr(PendingOperationsAdminMixin, "delete_model", late)
    done = admin_client.post(url(page), {"post": "yes"}, follow=True)
    assert "Nothing was changed" in text(done)
    assert Page.objects.filter(pk=page.pk).exists()


def select(client, *objs, **more):
    data = {"action": "delete_selected", "_selected_action": [obj.pk for obj in objs], **more}
    meta = objs[0]._meta
    return client.post(reverse(f"admin:{meta.app_label}_{meta.model_name}_changelist"), data, follow=True)


def test_the_action_on_many_has_the_button_as_well(admin_client):
    pages = [PageFactory(), PageFactory(), PageFactory()]
    made = [prints.enqueue(page) for page in pages[:2]]
    shown = text(select(admin_client, *pages))
    assert "cannot be deleted while these operations are pending" in shown
    seen = re.findall(r'<input type="hidden" name="operation" value="([^"]+)"', shown)
    assert sorted(seen) == sorted(str(one.pk) for one in made)
    pressed = {"post": "yes", "cancel_and_delete": "x"}
    assert "Nothing was changed" in text(select(admin_client, *pages, **pressed, operation=seen[:1]))
    assert [state(one) for one in made] == ["queued", "queued"]
    assert "Successfully deleted 3" in text(select(admin_client, *pages, **pressed, operation=seen))
    assert not Page.objects.exists()
    assert [state(one) for one in made] == ["cancelled", "cancelled"]


@pytest.mark.parametrize("ticked", ["nonsense", "\x00"])
def test_the_button_with_what_is_no_key_is_a_bad_request(admin_client, ticked):
    data = {"action": "delete_selected", "post": "yes", "cancel_and_delete": "x", "_selected_action": [ticked]}
    assert admin_client.post(reverse("admin:testapp_page_changelist"), data).status_code == 400


def test_the_action_cancels_nothing_where_something_else_protects_as_well(admin_client):
    note = Note.objects.create(title="a note")
    Receipt.objects.create(note=note)
    made = copies.enqueue(note)
    shown = text(select(admin_client, note))
    assert "cancel_and_delete" not in shown
    select(admin_client, note, post="yes", cancel_and_delete="x", operation=[str(made.pk)])
    assert state(made) == "queued"
    assert not is_removed(note)


def test_the_button_needs_both_permissions(staff):
    create_permissions(apps.get_app_config("testapp"), verbosity=0)
    page = PageFactory()
    made = prints.enqueue(page)
    for some in (("cancel_operation", "view_page"), ("delete_page", "view_page")):
        client = staff("view_operation", *some)
        assert "cancel_and_delete" not in client.get(url(page)).content.decode()
        answer = client.post(url(page), {"post": "yes", "cancel_and_delete": "x", "operation": [str(made.pk)]})
        assert answer.status_code == 403
    assert state(made) == "queued"
    assert Page.objects.exists()


def test_the_button_works_together_with_soft_deletion(admin_client):
    note = Note.objects.create(title="a note")
    Copy.objects.create(note=note)
    made = copies.enqueue(note)
    shown = text(admin_client.get(url(note)))
    assert "Cancel these operations and delete" in shown
    press(admin_client, note, shown)
    assert is_removed(note)
    assert state(made) == "cancelled"


def test_there_is_no_button_where_something_else_protects_as_well(admin_client):
    note = Note.objects.create(title="a note")
    Receipt.objects.create(note=note)
    made = copies.enqueue(note)
    shown = text(admin_client.get(url(note)))
    assert "Receipt" in shown
    assert "cancel_and_delete" not in shown
    press(admin_client, note, shown, operation=[str(made.pk)])
    assert state(made) == "queued"
    assert not is_removed(note)


def test_an_admin_that_knows_nothing_of_operations_shows_what_protects(admin_client):
    city = CityFactory()
    made = maps.enqueue(city)
    data = {"action": "delete_selected", "_selected_action": [city.pk]}
    of_many = admin_client.post(reverse("admin:testapp_city_changelist"), data)
    of_one = admin_client.get(reverse("admin:testapp_city_delete", args=[quote(city.pk)]))
    for answer in (of_many, of_one):
        shown = text(answer)
        assert "protected related objects" in shown
        assert reverse("admin:django_task_safety_operation_change", args=[made.pk]) in shown
