"""Cancelling by a POST."""

import pytest
from django.test import Client

from django_task_safety import safe_task
from django_task_safety.models import Operation
from tests.support import people
from tests.support.operations import state

HTML = {"Accept": "text/html"}


@safe_task
def work() -> None: ...


@pytest.fixture
def ada(db):
    return people.user("ada")


@pytest.fixture
def client(ada) -> Client:
    client = Client()
    client.force_login(ada)
    return client


@pytest.fixture
def operation(ada) -> Operation:
    return work.options(requested_by=ada).enqueue()


def path(operation: Operation) -> str:
    return f"{operation.status_url()}cancel/"


def test_json_says_how_it_is_then_and_whether_this_ended_it(client, ada, operation):
    told = client.post(path(operation)).json()
    assert (told["state"], told["can_cancel"], told["cancelled"]) == ("cancelled", False, True)
    assert told["error"] == "This was cancelled."
    again = client.post(path(operation)).json()
    assert (again["state"], again["cancelled"]) == ("cancelled", False)
    (event,) = Operation.objects.get().events
    assert (event.what, event.by) == ("cancel", str(ada.pk))


def test_what_has_succeeded_stays_as_it_is(client, ada, worker):
    operation = work.options(requested_by=people.user("ada")).enqueue()
    worker.drain()
    client.force_login(people.user("ada"))
    told = client.post(path(operation)).json()
    assert (told["state"], told["cancelled"]) == ("succeeded", False)


def test_a_browser_is_sent_back_to_the_status(client, operation):
    answer = client.post(path(operation), headers=HTML)
    assert (answer.status_code, answer["Location"]) == (302, operation.status_url())
    assert "cancelled" in client.get(answer["Location"], headers=HTML).content.decode()


def test_a_browser_is_sent_back_to_the_page_where_the_form_was(client, operation):
    answer = client.post(path(operation), {"next": "/notes/5/?tab=work"}, headers=HTML)
    assert answer["Location"] == "/notes/5/?tab=work"


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example", "javascript:alert(1)", "/\\evil", ""])
def test_nobody_is_sent_to_another_site(client, operation, elsewhere):
    answer = client.post(path(operation), {"next": elsewhere}, headers=HTML)
    assert answer["Location"] == operation.status_url()


def test_the_holder_of_a_link_is_sent_back_by_it(operation):
    link = operation.status_url(signed=True, can_cancel=True)
    answer = Client().post(link.replace("/?", "/cancel/?"), headers=HTML)
    assert answer["Location"] == link
    assert Operation.objects.get().events[0].by == ""


@pytest.mark.parametrize("headers", [{}, HTML], ids=["json", "page"])
def test_a_request_from_another_site_is_refused(ada, operation, headers):
    client = Client(enforce_csrf_checks=True)
    client.force_login(ada)
    assert client.post(path(operation), headers=headers).status_code == 403
    assert state(operation) == "queued"


def test_the_token_is_looked_at_whatever_the_projects_middleware(settings, operation):
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "Csrf" not in name]
    client = Client(enforce_csrf_checks=True)
    link = operation.status_url(signed=True, can_cancel=True)
    assert client.post(link.replace("/?", "/cancel/?")).status_code == 403


def test_the_form_of_the_page_cancels(ada, operation):
    client = Client(enforce_csrf_checks=True)
    client.force_login(ada)
    page = client.get(operation.status_url(), headers=HTML).content.decode()
    token = page.partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
    assert client.post(path(operation), {"csrfmiddlewaretoken": token}, headers=HTML).status_code == 302
    assert state(operation) == "cancelled"
