"""The list of one's own operations."""

import re

import pytest
from django.test import Client

from django_task_safety import safe_task
from django_task_safety.models import Operation
from django_task_safety.views.status import PAGE
from tests.support import people

HTML = {"Accept": "text/html"}
LIVE = {**HTML, "X-Requested-With": "task-safety-live"}


@safe_task(title="Work no. {n}!")
def work(n: int = 0) -> None: ...


@pytest.fixture
def ada(db):
    return people.user("ada")


@pytest.fixture
def client(ada) -> Client:
    client = Client()
    client.force_login(ada)
    return client


def test_it_holds_ones_own_newest_first_and_nobody_elses(client, ada):
    own = [work.options(requested_by=ada).enqueue(n) for n in range(3)]
    work.options(requested_by=people.user("eve")).enqueue(7)
    work.enqueue(8)
    told = client.get("/operations/").json()
    assert [one["id"] for one in told["operations"]] == [str(one.pk) for one in reversed(own)]
    assert told["next"] is None
    assert "result" not in told["operations"][0]
    page = client.get("/operations/", headers=HTML).content.decode()
    assert re.findall(r"Work no. (\d)!</a>", page) == ["2", "1", "0"]


def test_pages_follow_one_another_without_gaps(client, ada, django_assert_num_queries):
    number = 2 * PAGE + 5
    work.options(requested_by=ada).enqueue_many([(n,) for n in range(number)])
    address, seen = "/operations/", []
    while address:
        with django_assert_num_queries(3):
            told = client.get(address).json()
        seen += [one["id"] for one in told["operations"]]
        address = told["next"]
    assert seen == [str(pk) for pk in Operation.objects.order_by("-pk").values_list("pk", flat=True)]
    page = client.get("/operations/", headers=HTML).content.decode()
    assert re.search(r'<a href="/operations/\?before=[0-9a-f-]{36}">Older ones', page)


def test_an_exactly_full_page_is_the_last_one(client, ada):
    work.options(requested_by=ada).enqueue_many([(n,) for n in range(PAGE)])
    assert client.get("/operations/").json()["next"] is None


@pytest.mark.parametrize("before", ["nonsense", "1", "' OR 1=1", "%00"])
def test_a_page_that_cannot_be_is_not_found(client, before):
    assert client.get("/operations/", {"before": before}).status_code == 404


def test_a_list_is_live_while_something_is_pending(client, ada):
    operation = work.options(requested_by=ada).enqueue()
    for headers in ({}, HTML, LIVE):
        first = client.get("/operations/", headers=headers)
        assert first["Retry-After"] == "1"
        again = client.get("/operations/", headers={**headers, "If-None-Match": first["ETag"]})
        assert (again.status_code, again["Retry-After"]) == (304, "1")
    assert 'data-live="/operations/"' in client.get("/operations/", headers=HTML).content.decode()
    operation.cancel()
    for headers in ({}, HTML, LIVE):
        assert "Retry-After" not in client.get("/operations/", headers=headers)
    assert "data-live" not in client.get("/operations/", headers=HTML).content.decode()


def test_a_list_of_nothing_says_so(client):
    assert client.get("/operations/").json() == {"operations": [], "next": None}
    assert "There are none." in client.get("/operations/", headers=HTML).content.decode()
