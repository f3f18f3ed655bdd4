"""Who may see and do what in the admin of operations: every address, every user who may not."""

import uuid

import pytest
from django.test import Client
from django.urls import get_resolver, reverse

from django_task_safety.admin import OperationAdmin
from django_task_safety.models import Operation
from tests.support.rows import operation

pytestmark = pytest.mark.django_db
PREFIX = "django_task_safety_operation_"
#: Addresses, and the permission that each needs besides the one to view.
PAGES = {
    "changelist": "",
    "live_list": "",
    "change": "",
    "live": "",
    "history": "",
    "cancel": "cancel_operation",
    "retry": "retry_operation",
    "rerun": "retry_operation",
    "add": None,
    "delete": None,
}
WITHOUT_ID = {"changelist", "live_list", "add"}


def url(page: str, pk) -> str:
    return reverse(f"admin:{PREFIX}{page}", args=[] if page in WITHOUT_ID else [pk])


def test_the_table_names_every_address_of_the_admin_of_operations():
    namespace = get_resolver().namespace_dict["admin"][1]
    assert {name for name in namespace.reverse_dict if str(name).startswith(PREFIX)} == {
        PREFIX + page for page in PAGES
    }


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("method", ["get", "post"])
def test_nobody_gets_anywhere_without_permission(staff, page, method, django_user_model):
    made = operation("failed", title="the title")
    plain = Client()
    plain.force_login(django_user_model.objects.create_user("nobody"))
    for client in (Client(), plain):
        answer = getattr(client, method)(url(page, made.pk))
        assert answer.status_code == 302
        assert "/login/" in answer.url
    others = ["cancel_operation", "retry_operation", "view_operation_arguments"]
    for client in (staff(), staff(*others)):
        assert getattr(client, method)(url(page, made.pk)).status_code == 403
    needed = PAGES[page]
    viewer = staff("view_operation", *(one for one in others if one != needed))
    answer = getattr(viewer, method)(url(page, made.pk))
    if needed == "" and method == "get":
        assert answer.status_code == 200
    elif needed != "":
        assert answer.status_code == 403
    made.refresh_from_db()
    assert made.state == "failed"


def test_nobody_adds_changes_or_deletes_rows_not_even_a_superuser(admin_client):
    made = operation()
    for page in ("add", "delete"):
        assert admin_client.get(url(page, made.pk)).status_code == 403
        assert admin_client.post(url(page, made.pk), {"post": "yes"}).status_code == 403
    assert admin_client.post(url("change", made.pk), {"title": "x"}).status_code == 403
    shown = admin_client.get(url("changelist", made.pk)).content.decode()
    assert "delete_selected" not in shown
    assert Operation.objects.get().title == ""


@pytest.mark.parametrize("page", sorted(PAGES.keys() - WITHOUT_ID - {"delete"}))
@pytest.mark.parametrize("pk", [uuid.UUID(int=0), "nonsense", "_00", "x" * 300])
def test_what_does_not_exist_is_not_found(admin_client, page, pk):
    assert admin_client.get(url(page, pk)).status_code in (302, 404)


@pytest.mark.parametrize("page", ["cancel", "retry", "rerun"])
def test_actions_need_a_csrf_token(admin_user, page):
    made = operation("failed")
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    assert client.post(url(page, made.pk), {"post": "yes"}).status_code == 403
    assert client.post(url("changelist", made.pk), {"action": f"{page}_selected"}).status_code == 403


def test_actions_have_the_names_of_what_they_do():
    assert {name.split("_")[0] for name in OperationAdmin.actions} == {"cancel", "retry", "rerun"}
