"""The admin of soft-deletable models."""

import subprocess
import sys
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from django_task_safety import PROTECT, safe_task
from tests.notesapp.models import Address, Attachment, Copy, Note, Receipt
from tests.notesapp.ways import fresh, is_removed

pytestmark = pytest.mark.django_db
LIST = reverse("admin:notesapp_note_changelist")


@safe_task(on_delete=PROTECT)
def protects_in_admin(note: Note) -> None: ...


@pytest.fixture
def notes() -> tuple[Note, Note]:
    """A live one and a removed one, with a copy each."""
    found = []
    for title in ("living", "removed"):
        found.append(Note.objects.create(title=f"{title} note"))
        Copy.objects.create(note=found[-1])
    found[1].delete()
    return found[0], found[1]


def act(client: Client, action: str, *objs: Any, **more: str) -> Any:
    data = {"action": action, "_selected_action": [obj.pk for obj in objs], **more}
    return client.post(f"{LIST}?removed=all", data, follow=True)


def text(response: Any) -> str:
    assert response.status_code == 200
    return str(response.content.decode())


@pytest.mark.parametrize(
    ("query", "shown"),
    [("", {"living"}), ("?removed=1", {"removed"}), ("?removed=all", {"living", "removed"})],
)
def test_the_soft_admins_list_is_filtered_by_removal(admin_client, notes, query, shown):
    found = text(admin_client.get(LIST + query))
    assert {title for title in ("living", "removed") if f"{title} note" in found} == shown


def test_the_soft_admins_filter_says_what_it_shows(admin_client, notes):
    found = text(admin_client.get(LIST))
    assert all(choice in found for choice in ("Not removed", "?removed=1", "?removed=all", "By copied"))


def test_the_soft_admins_page_of_a_removed_object_can_be_reached_and_saved(admin_client, notes):
    url = reverse("admin:notesapp_note_change", args=[notes[1].pk])
    assert "removed note" in text(admin_client.get(url))
    text(admin_client.post(url, {"title": "changed", "is_removed": ""}, follow=True))
    assert (fresh(notes[1]).title, fresh(notes[1]).is_removed) == ("changed", True)


def test_deleting_in_the_soft_admin_is_soft_and_shows_what_goes(admin_client, notes):
    Attachment.objects.create(note=notes[0])
    url = reverse("admin:notesapp_note_delete", args=[notes[0].pk])
    page = text(admin_client.get(url))
    assert f'Note: <a href="/admin/notesapp/note/{notes[0].pk}/change/">living note</a>' in page
    assert "Copy: <a" in page
    assert "ttachment" not in page
    text(admin_client.post(url, {"post": "yes"}, follow=True))
    assert is_removed(notes[0])


def test_the_soft_admins_delete_action_is_soft_and_shows_what_goes(admin_client, notes):
    page = text(act(admin_client, "delete_selected", notes[0]))
    assert "living note" in page
    assert "copy 0" in page
    assert not is_removed(notes[0])
    assert "Successfully deleted 1 note" in text(act(admin_client, "delete_selected", notes[0], post="yes"))
    assert is_removed(notes[0])


@pytest.mark.parametrize("action", ["delete_selected", "hard_delete_selected"])
def test_the_soft_admin_shows_the_objects_that_protect(admin_client, notes, action):
    Receipt.objects.create(note=notes[0])
    page = text(act(admin_client, action, notes[0], post="yes"))
    assert "Cannot delete note" in page
    assert "Receipt" in page
    assert not is_removed(notes[0])


def test_the_soft_admin_shows_an_operation_that_protects(admin_client, notes):
    protects_in_admin.enqueue(notes[0])
    page = text(act(admin_client, "delete_selected", notes[0], post="yes"))
    assert "Protects in admin" in page
    assert not is_removed(notes[0])


def test_restoring_in_the_soft_admin_brings_back_what_went_together(admin_client, notes):
    page = text(act(admin_client, "restore_selected", *notes))
    assert "Restored 1 note." in page
    assert not is_removed(notes[1])
    assert Copy.objects.count() == 2
    assert LogEntry.objects.get().get_change_message() == "Restored."


def test_the_soft_admin_shows_a_conflict_at_a_restore(admin_client, admin_user):
    from django.contrib import admin
    from django.test import RequestFactory

    from django_task_safety.admin import SoftDeleteAdmin

    Address.objects.create(slug="a").delete()
    Address.objects.create(slug="a")
    said = []

    class AddressAdmin(SoftDeleteAdmin):
        def message_user(self, request: Any, message: str, level: Any = None, **options: Any) -> None:
            said.append(message)

    request = RequestFactory().get("/")
    request.user = admin_user
    AddressAdmin(Address, admin.site).restore_selected(request, Address.all_objects.all())
    assert len(said) == 1
    assert "cannot be restored" in said[0]
    assert Address.removed_objects.count() == 1


def test_deleting_for_good_in_the_soft_admin_asks_first(admin_client, notes):
    Attachment.objects.create(note=notes[1])
    page = text(act(admin_client, "hard_delete_selected", *notes))
    assert "will be deleted for good" in page
    assert 'name="action" value="hard_delete_selected"' in page
    assert "attachment" in page
    assert Note.all_objects.count() == 2
    assert "Successfully deleted 2 notes" in text(act(admin_client, "hard_delete_selected", *notes, post="yes"))
    assert Note.all_objects.count() == 0
    assert Copy.all_objects.count() == 0


def staff(client: Client, *permissions: str) -> Client:
    create_permissions(apps.get_app_config("notesapp"))
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    return client


def test_restoring_in_the_soft_admin_needs_the_permission_to_change(client, notes):
    page = text(staff(client, "view_note", "delete_note").get(LIST))
    assert "hard_delete_selected" in page
    assert "restore_selected" not in page
    act(client, "restore_selected", notes[1])
    assert is_removed(notes[1])


def test_deleting_for_good_in_the_soft_admin_needs_the_permission_to_delete(client, notes):
    page = text(staff(client, "view_note", "change_note").get(LIST))
    assert "restore_selected" in page
    assert "hard_delete_selected" not in page
    act(client, "hard_delete_selected", notes[1], post="yes")
    assert fresh(notes[1]) == notes[1]


@pytest.mark.parametrize("action", ["delete_selected", "hard_delete_selected"])
def test_the_soft_admin_asks_for_permission_on_each_model_that_goes_along(client, notes, action):
    staff(client, "view_note", "delete_note")
    assert "have permission to delete" in text(act(client, action, notes[0]))
    assert act(client, action, notes[0], post="yes").status_code == 403
    assert not is_removed(notes[0])


def test_the_soft_admins_forms_do_not_offer_removed_objects(admin_client, notes):
    query = {"app_label": "notesapp", "model_name": "copy", "field_name": "note", "term": "note"}
    offered = admin_client.get(reverse("admin:autocomplete"), query).json()["results"]
    assert [one["text"] for one in offered] == ["living note"]


def test_the_package_works_without_the_admin():
    script = """
import django
from django.conf import settings
settings.configure(INSTALLED_APPS=["django.contrib.contenttypes", "django_task_safety"])
django.setup()
import sys
import django_task_safety.models, django_task_safety.managers
assert "django.contrib.admin.options" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True)
    assert "django.contrib.admin.options" in sys.modules
