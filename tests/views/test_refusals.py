"""What somebody is told whose request meets an object that is locked."""

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db.models import ProtectedError
from django.http import HttpResponse
from django.test import AsyncClient, Client, RequestFactory
from django.urls import path

from django_task_safety import PROTECT, ObjectLocked, safe_task
from django_task_safety.middleware import TaskSafetyMiddleware
from django_task_safety.models import Operation
from tests.support import people
from tests.support.factories import PageFactory
from tests.testapp.models import Page

HTML = {"Accept": "text/html"}


@safe_task(on_delete=PROTECT, title="Print {page}")
def print_page(page: Page, copies: int = 1) -> None: ...


def delete(request, pk):
    Page.objects.get(pk=pk).delete()
    return HttpResponse("deleted")


def delete_all(request):
    Page.objects.all().delete()
    return HttpResponse("deleted")


def protected(request):
    raise ProtectedError("by a foreign key", set())


urlpatterns = [path("pages/<int:pk>/delete/", delete), path("pages/delete/", delete_all), path("other/", protected)]


@pytest.fixture(autouse=True)
def _project(settings):
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django_task_safety.middleware.TaskSafetyMiddleware"]


@pytest.fixture
def ada(db):
    return people.user("ada")


@pytest.fixture
def page(db) -> Page:
    return PageFactory(title="<b>Plans</b>")


@pytest.fixture
def operation(ada, page) -> Operation:
    return print_page.options(requested_by=ada).enqueue(page)


def refused(page: Page, user: Any = None, **headers: str) -> HttpResponse:
    client = Client()
    if user is not None:
        client.force_login(user)
    answer = client.post(f"/pages/{page.pk}/delete/", headers=headers)
    assert answer.status_code == 409
    assert Page.objects.filter(pk=page.pk).exists()
    return answer


def answered(refusal: ObjectLocked, user: Any) -> HttpResponse:
    request = RequestFactory().get("/")
    request.user = user
    answer = TaskSafetyMiddleware(lambda request: HttpResponse()).process_exception(request, refusal)
    assert isinstance(answer, HttpResponse)
    return answer


def test_who_asked_for_what_is_pending_reads_what_it_is(ada, page, operation):
    html = refused(page, ada, **HTML).content.decode()
    assert "Work is pending on this." in html
    assert "Print &lt;b&gt;Plans&lt;/b&gt;" in html
    told = refused(page, ada).json()
    assert told["detail"] == "Work is pending on this. Try again when it is done."
    assert [one["id"] for one in told["operations"]] == [str(operation.pk)]


def test_others_read_that_it_is_pending_and_no_more(page, operation):
    for user in (None, people.user("eve"), people.staff("sam")):
        for headers in ({}, HTML):
            text = refused(page, user, **headers).content.decode()
            assert "Work is pending on this." in text
            assert "Plans" not in text
            assert str(operation.pk) not in text
            assert "print_page" not in text
    assert refused(page).json()["operations"] == []


def test_the_answer_is_kept_by_nobody(page, operation):
    assert refused(page)["Cache-Control"] == "private, no-cache"


def test_of_many_operations_some_are_named_without_a_query(ada, page, operation, django_assert_num_queries):
    print_page.options(requested_by=ada).enqueue_many([(page, n) for n in range(30)])
    with pytest.raises(ObjectLocked) as refusal:
        page.delete()
    with django_assert_num_queries(0):
        answer = answered(refusal.value, ada)
    assert answer.content.count(b'"id"') == 10


def test_an_operation_that_is_not_committed_yet_has_no_page_and_is_not_named(ada):
    unseen = Operation(task="x", requested_by=str(ada.pk))
    assert b'"operations": []' in answered(ObjectLocked("held", unseen), ada).content


def test_a_delete_of_many_is_refused_alike(ada, page, operation):
    client = Client()
    client.force_login(ada)
    answer = client.post("/pages/delete/")
    assert (answer.status_code, len(answer.json()["operations"])) == (409, 1)


@pytest.mark.django_db(transaction=True)
def test_a_request_over_asgi_is_answered_alike():
    page = PageFactory()
    print_page.enqueue(page)
    answer = async_to_sync(AsyncClient().post)(f"/pages/{page.pk}/delete/")
    assert (answer.status_code, answer.json()["operations"]) == (409, [])


def test_other_exceptions_are_left_to_django(db):
    with pytest.raises(ProtectedError):
        Client().post("/other/")
