"""The status of one operation, as JSON and as HTML."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from django_task_safety import safe_task
from django_task_safety.models import Operation
from django_task_safety.views import representation
from tests.support import people

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
LIVE = {**HTML, "X-Requested-With": "task-safety-live"}


@safe_task(title="Add {name}", public_result=True)
def public(name: object = "", result: object = None) -> object:
    return result


@safe_task
def secret() -> str:
    return "nobody's business"


@safe_task(max_retries=0)
def fails() -> None:
    raise ValueError("hunter2 at /srv/app/secrets.py")


@pytest.fixture
def ada(worker):
    return people.user("ada")


@pytest.fixture
def client(ada) -> Client:
    client = Client()
    client.force_login(ada)
    return client


def asked(task, user, *args) -> Operation:
    return task.options(requested_by=user).enqueue(*args)


def status(client: Client, operation: Operation, **headers: str) -> HttpResponse:
    return client.get(operation.status_url(), headers=headers)


def test_json_says_what_is_to_be_known_of_a_waiting_operation(client, ada):
    operation = asked(public, ada, "a bike")
    answer = status(client, operation)
    told = answer.json()
    assert answer["Content-Type"] == "application/json"
    assert told.pop("created_at")
    assert told == {
        "id": str(operation.pk),
        "title": "Add a bike",
        "state": "queued",
        "progress": None,
        "message": "",
        "started_at": None,
        "ended_at": None,
        "error": None,
        "result": None,
        "can_cancel": True,
        "next_poll": 1,
        "links": {"self": operation.status_url(), "cancel": f"{operation.status_url()}cancel/"},
    }
    assert answer["Retry-After"] == "1"


def test_json_follows_the_operation_to_its_end(client, ada, worker):
    operation = asked(public, ada, "a bike", {"wheels": 2})
    worker.drain()
    answer = status(client, operation)
    told = answer.json()
    assert (told["state"], told["result"], told["error"]) == ("succeeded", {"wheels": 2}, None)
    assert (told["can_cancel"], told["next_poll"]) == (False, None)
    assert told["started_at"] <= told["ended_at"]
    assert "cancel" not in told["links"]
    assert "Retry-After" not in answer


def test_a_running_operation_shows_its_progress(client, ada):
    operation = asked(public, ada)
    Operation.objects.filter(pk=operation.pk).update(state="running", progress=0.25, progress_message="page 5 of 20")
    told = status(client, operation).json()
    assert (told["state"], told["progress"], told["message"]) == ("running", 0.25, "page 5 of 20")
    page = status(client, operation, **HTML).content.decode()
    assert "page 5 of 20" in page
    assert re.search(r'<progress [^>]*max="100" value="25" aria-label="Progress of Add "', page)


@pytest.mark.parametrize("headers", [{}, {"Accept": "*/*"}, {"Accept": "image/png"}, {"Accept": ";;=,q"}])
def test_who_does_not_ask_for_html_gets_json(client, ada, headers):
    assert status(client, asked(public, ada), **headers)["Content-Type"] == "application/json"


def test_a_browser_gets_a_page_that_follows_the_operation(client, ada):
    operation = asked(public, ada, "a bike")
    answer = status(client, operation, **HTML)
    page = answer.content.decode()
    assert answer["Content-Type"].startswith("text/html")
    assert "<h1>Add a bike</h1>" in page
    assert f'data-live="{operation.status_url()}" data-live-every="1"' in page
    assert 'aria-live="polite"' in page
    assert "waiting" in page
    assert '<script src="/static/django_task_safety/live.js" defer></script>' in page
    assert f'action="{operation.status_url()}cancel/"' in page


def test_the_pages_script_gets_the_region_alone_without_a_token(client, ada):
    operation = asked(public, ada, "a bike")
    region = status(client, operation, **LIVE).content.decode()
    page = status(client, operation, **HTML).content.decode()
    assert region in page
    assert region.startswith("<p")
    assert "<html" not in region
    assert "csrf" not in region
    assert f'form="ts-cancel-{operation.pk}"' in region


@pytest.mark.parametrize("headers", [{}, HTML, LIVE], ids=["json", "page", "region"])
def test_who_has_the_status_already_is_told_so(client, ada, headers):
    operation = asked(public, ada)
    first = status(client, operation, **headers)
    again = status(client, operation, **headers, **{"If-None-Match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again["Retry-After"] == "1"
    assert again["ETag"] == first["ETag"]
    Operation.objects.filter(pk=operation.pk).update(state="running", progress=0.5)
    changed = status(client, operation, **headers, **{"If-None-Match": first["ETag"]})
    assert changed.status_code == 200
    assert changed["ETag"] != first["ETag"]


def test_time_alone_says_when_to_look_again_and_changes_no_answer(client, ada, monkeypatch):
    operation = asked(public, ada)
    first = status(client, operation)
    monkeypatch.setattr(timezone, "now", lambda: datetime.now(UTC) + timedelta(seconds=55))
    again = status(client, operation, **{"If-None-Match": first["ETag"]})
    assert (again.status_code, again["Retry-After"]) == (304, "5")


def test_answers_are_kept_by_nobody_else(client, ada):
    answer = status(client, asked(public, ada))
    assert answer["Cache-Control"] == "private, no-cache"
    # The address may hold a link that is as good as a password.
    assert answer["Referrer-Policy"] == "same-origin"
    assert {"Accept", "Cookie", "X-Requested-With"} <= {name.strip() for name in answer["Vary"].split(",")}


def test_a_result_is_shown_only_where_its_task_says_so(client, ada, worker):
    operation = asked(secret, ada)
    worker.drain()
    for headers in ({}, HTML, LIVE):
        answer = status(client, operation, **headers)
        assert "business" not in answer.content.decode()
    assert status(client, operation).json()["result"] is None


@pytest.mark.parametrize("result", ["text", 5, 0.5, True, [1, "two"], {"a": [None]}])
def test_a_public_result_is_shown_as_it_is(client, ada, worker, result):
    operation = asked(public, ada, "it", result)
    worker.drain()
    assert status(client, operation).json()["result"] == result


def test_a_huge_result_is_neither_read_nor_shown(client, ada, worker):
    operation = asked(public, ada, "it", "x" * (representation.LONGEST_RESULT // 2))
    worker.drain()
    assert len(status(client, operation).json()["result"]) == representation.LONGEST_RESULT // 2
    Operation.objects.filter(pk=operation.pk).update(result_payload=json.dumps("x" * 3_000_000))
    answer = status(client, operation)
    assert (answer.json()["result"], answer.json()["result_too_large"]) == (None, True)
    assert len(answer.content) < 2_000
    page = status(client, operation, **HTML).content.decode()
    assert "too large" in page
    assert "xxx" not in page


def test_a_failure_is_told_in_words_that_are_safe(client, ada, worker):
    operation = asked(fails, ada)
    worker.drain()
    assert status(client, operation).json()["error"] == "This could not be completed."
    for headers in ({}, HTML, LIVE):
        text = status(client, operation, **headers).content.decode()
        assert "hunter2" not in text
        assert "ValueError" not in text
        assert "Traceback" not in text


def test_texts_are_escaped(client, ada):
    operation = asked(public, ada, "<script>alert(1)</script>\x1b[2J\n")
    Operation.objects.filter(pk=operation.pk).update(
        state="running", progress_message="<img src=x onerror=alert(2)>\x07\u202e", progress=0.1
    )
    told = status(client, operation)
    assert told.json()["title"] == r"Add <script>alert(1)</script>\x1b[2J\n"
    assert told.json()["message"] == r"<img src=x onerror=alert(2)>\x07\u202e"
    for headers in (HTML, LIVE):
        page = status(client, operation, **headers).content.decode()
        assert "<script>alert" not in page
        assert "<img" not in page
        assert not {"\x1b", "\x07", "\u202e"} & set(page)


def test_head_is_answered_as_get_is_and_other_methods_are_refused(client, ada):
    operation = asked(public, ada)
    assert client.head(operation.status_url()).status_code == 200
    for method in ("post", "put", "patch", "delete"):
        assert getattr(client, method)(operation.status_url()).status_code == 405


def test_the_status_is_one_query_beside_the_sessions_and_the_users(client, ada, django_assert_num_queries):
    operation = asked(public, ada)
    for headers in ({}, HTML, LIVE):
        with django_assert_num_queries(3) as queries:
            assert status(client, operation, **headers).status_code == 200
        mine = [query["sql"] for query in queries if "django_task_safety" in query["sql"]]
        assert len(mine) == 1
    with django_assert_num_queries(1):
        assert Client().get(operation.status_url(signed=True)).status_code == 200
