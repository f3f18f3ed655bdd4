"""Operations in Django REST framework."""

import json
from base64 import b64encode
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import include, path
from rest_framework.decorators import api_view
from rest_framework.routers import DefaultRouter

from django_task_safety import PROTECT, ObjectGone, idempotent_task, safe_task
from django_task_safety.models import Operation
from django_task_safety.rest import OperationSerializer, OperationViewSet, exception_handler
from django_task_safety.values import status_links
from tests.support import people
from tests.support.factories import PageFactory
from tests.support.operations import state
from tests.testapp.models import Page


@safe_task(on_delete=PROTECT, title="Print {page}", public_result=True)
def print_page(page: Page, copies: int = 1) -> int:
    return copies


@idempotent_task(key="number", match="amount", on_duplicate="raise")
def charge(number: int, amount: int = 1) -> None: ...


def delete(request):
    Page.objects.all().delete()


def write_and_delete(request):
    PageFactory(title="written by the request")
    Page.objects.first().delete()


def duplicate(request):
    charge.enqueue(1)


def reuse(request):
    charge.enqueue(1, 2)


def gone(request):
    raise ObjectGone("page 5 is gone, says the task secrets.task")


def broken(request):
    raise ZeroDivisionError


VIEWS = {one.__name__: one for one in (delete, write_and_delete, duplicate, reuse, gone, broken)}
router = DefaultRouter()
router.register("operations", OperationViewSet)
by_converter = DefaultRouter(use_regex_path=False)
by_converter.register("operations", OperationViewSet)
urlpatterns = [
    path("api/", include(router.urls)),
    path("other/", include(by_converter.urls)),
    *(path(f"{name}/", api_view(["POST"])(view)) for name, view in VIEWS.items()),
]


@pytest.fixture(autouse=True)
def _project(settings):
    settings.ROOT_URLCONF = __name__
    settings.REST_FRAMEWORK = {
        "EXCEPTION_HANDLER": "django_task_safety.rest.exception_handler",
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    }


@pytest.fixture
def ada(db):
    return people.user("ada")


@pytest.fixture
def operation(ada) -> Operation:
    return print_page.options(requested_by=ada).enqueue(PageFactory(title="Plans"))


def logged_in(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_an_operation_is_told_as_the_status_page_tells_it(ada, operation):
    answer = logged_in(ada).get(f"/api/operations/{operation.pk}/")
    told = answer.json()
    assert told.pop("created_at")
    assert told == {
        **{"id": str(operation.pk), "title": "Print Plans", "state": "queued", "progress": None, "message": ""},
        **{"started_at": None, "ended_at": None, "result": None, "error": None, "can_cancel": True, "next_poll": 1},
    }
    assert answer["Retry-After"] == "1"
    assert answer["Cache-Control"] == "private, no-cache"


def test_an_operation_is_one_query_beside_the_sessions_and_the_users(ada, operation, django_assert_num_queries):
    client = logged_in(ada)
    with django_assert_num_queries(3):
        client.get(f"/api/operations/{operation.pk}/")


def test_a_public_result_is_told(worker):
    operation = print_page.options(requested_by=people.user("ada")).enqueue(PageFactory(), 3)
    worker.drain()
    assert logged_in(people.user("ada")).get(f"/api/operations/{operation.pk}/").json()["result"] == 3
    assert OperationSerializer(Operation.objects.get()).data["result"] == 3


def test_the_list_holds_ones_own_newest_first_page_by_page(ada, operation, django_assert_num_queries):
    page = PageFactory()
    print_page.options(requested_by=ada).enqueue_many([(page, n) for n in range(30)])
    print_page.enqueue(page)
    client, address, seen = logged_in(ada), "/api/operations/", []
    while address:
        with django_assert_num_queries(3):
            told = client.get(address).json()
        seen += [one["id"] for one in told["results"]]
        address = told["next"]
    own = Operation.objects.requested_by(ada).order_by("-pk")
    assert seen == [str(one.pk) for one in own]


VISITORS = {
    "anonymous": Client,
    "stranger": lambda: logged_in(people.user("eve")),
    "staff without permission": lambda: logged_in(people.staff("sam")),
}


@pytest.mark.parametrize("visitor", VISITORS)
@pytest.mark.parametrize(("method", "suffix"), [("get", ""), ("post", "cancel/")])
@pytest.mark.parametrize("prefix", ["api", "other"])
def test_what_may_not_be_seen_is_like_what_is_not_there(operation, visitor, method, suffix, prefix):
    client = VISITORS[visitor]()
    forbidden = getattr(client, method)(f"/{prefix}/operations/{operation.pk}/{suffix}")
    unknown = getattr(client, method)(f"/{prefix}/operations/{'0' * 8}{str(operation.pk)[8:]}/{suffix}")
    assert forbidden.status_code == unknown.status_code == 404
    assert forbidden.content == unknown.content == b'{"detail":"Not found."}'
    assert forbidden.headers == unknown.headers
    assert state(operation) == "queued"


def test_the_list_is_for_who_is_logged_in(db):
    assert Client().get("/api/operations/").json() == {"detail": "Not found."}


def test_permissions_are_those_of_the_status_pages(operation):
    viewer, canceller = people.staff("sam", "view_operation"), people.staff("bo", "cancel_operation")
    assert logged_in(viewer).get(f"/api/operations/{operation.pk}/").json()["can_cancel"] is False
    assert logged_in(viewer).post(f"/api/operations/{operation.pk}/cancel/").status_code == 404
    told = logged_in(canceller).post(f"/api/operations/{operation.pk}/cancel/").json()
    assert (told["state"], told["cancelled"]) == ("cancelled", True)
    assert Operation.objects.get().events[0].by == str(canceller.pk)


def test_a_signed_link_is_good_here_too(operation):
    link = status_links.sign(operation.pk, 60, status_links.Grant.CANCEL)
    told = Client().post(f"/api/operations/{operation.pk}/cancel/?link={link}").json()
    assert told["state"] == "cancelled"


def test_operations_cannot_be_made_changed_or_deleted(ada, operation):
    client = logged_in(ada)
    for method, address in [
        *(("post", "/api/operations/"), ("put", f"/api/operations/{operation.pk}/")),
        *(("patch", f"/api/operations/{operation.pk}/"), ("delete", f"/api/operations/{operation.pk}/")),
    ]:
        assert getattr(client, method)(address).status_code == 405


# Errors.


def answered(name: str, user: Any) -> tuple[int, dict[str, Any]]:
    answer = logged_in(user).post(f"/{name}/")
    return answer.status_code, json.loads(answer.content)


def test_a_locked_object_is_a_conflict_that_names_what_may_be_seen(ada, operation):
    status, told = answered("delete", ada)
    assert (status, [one["id"] for one in told["operations"]]) == (409, [str(operation.pk)])
    status, told = answered("delete", people.user("eve"))
    assert (status, told) == (409, {"detail": "Work is pending on this. Try again when it is done.", "operations": []})


def test_a_duplicate_is_a_conflict(ada):
    first = charge.options(requested_by=ada).enqueue(1)
    status, told = answered("duplicate", ada)
    assert (status, told["detail"]) == (409, "This is being done already.")
    assert [one["id"] for one in told["operations"]] == [str(first.pk)]
    assert answered("duplicate", people.user("eve"))[1]["operations"] == []


def test_a_key_for_something_else_cannot_be_processed(ada):
    charge.enqueue(1)
    assert answered("reuse", ada) == (
        422,
        {"detail": "This key was used before, for something else.", "operations": []},
    )


def test_an_object_that_is_gone_is_gone(ada):
    assert answered("gone", ada) == (410, {"detail": "This does not exist any more.", "operations": []})


def test_other_errors_are_left_to_the_framework(ada):
    with pytest.raises(ZeroDivisionError):
        logged_in(ada).post("/broken/")
    assert exception_handler(ZeroDivisionError(), {}) is None


@pytest.mark.django_db(transaction=True)
def test_an_answered_error_rolls_the_request_back_and_is_answered_in_full(monkeypatch):
    page, ada = PageFactory(), people.user("ada")
    operation = print_page.options(requested_by=ada).enqueue(page)
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    status, told = answered("write_and_delete", ada)
    assert (status, [one["id"] for one in told["operations"]]) == (409, [str(operation.pk)])
    assert not Page.objects.filter(title="written by the request").exists()


@pytest.mark.django_db(transaction=True)
def test_a_permission_that_cannot_be_read_any_more_shows_nothing(monkeypatch):
    print_page.enqueue(PageFactory())
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    status, told = answered("write_and_delete", people.staff("sam", "view_operation"))
    assert (status, told["operations"]) == (409, [])


@pytest.mark.parametrize("cursor", ["p=a%00b", "p=", "p=1&r=1", "o=x", "r=x"])
def test_a_cursor_that_somebody_made_up_is_not_found(ada, operation, cursor):
    answer = logged_in(ada).get("/api/operations/", {"cursor": b64encode(cursor.encode()).decode()})
    assert (answer.status_code, answer.json()) == (404, {"detail": "Invalid cursor"})
