"""The list of operations in the admin."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.contrib.staticfiles import finders
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from django_task_safety.admin import looking
from django_task_safety.models import Operation
from django_task_safety.record import State
from tests.support.factories import NoteFactory, PageFactory
from tests.support.rows import operation, operations
from tests.testapp.tasks import charge, copy_note

pytestmark = pytest.mark.django_db
LIST = reverse("admin:django_task_safety_operation_changelist")
FILTERS = [
    "",
    "?state=failed",
    "?state=succeeded",
    "?stuck=yes",
    "?failed=day",
    "?task=x",
    "?state=failed&task=x",
    "?q=1",
]


def text(response) -> str:
    assert response.status_code == 200, response
    return response.content.decode()


def titles(response) -> list[str]:
    return [operation.title for operation in response.context["cl"].result_list]


def href(response, word: str) -> str:
    found = re.search(rf'href="([^"]*)"[^>]*>{word}<', text(response))
    return LIST + found[1].replace("&amp;", "&") if found else ""


@pytest.mark.parametrize("query", FILTERS)
def test_a_list_takes_at_most_six_statements_beside_those_for_session_and_user(admin_client, query):
    users = [User.objects.create_user(f"asked {n}") for n in range(3)]
    for n in range(60):
        about = {"subject_label": "testapp.note", "subject_id": str(n), "subject_database": "default"}
        operation(State.FAILED, title=f"{n}", requested_by=str(users[n % 3].pk), **about)
        operation(State.QUEUED, age=1000, requested_by=str(users[n % 3].pk), **about)
    with CaptureQueriesContext(connection) as seen:
        text(admin_client.get(LIST + query))
    session_and_user, own = seen.captured_queries[:2], seen.captured_queries[2:]
    assert "django_session" in session_and_user[0]["sql"]
    assert "auth_user" in session_and_user[1]["sql"]
    assert len(own) <= 6, own


def test_pages_are_walked_from_the_newest_to_the_oldest_and_back(admin_client):
    made = [one.title for one in operations(120)][::-1]
    first = admin_client.get(LIST)
    assert titles(first) == made[:50]
    second = admin_client.get(href(first, "Older"))
    third = admin_client.get(href(second, "Older"))
    assert titles(second) + titles(third) == made[50:]
    assert not href(third, "Older")
    assert titles(admin_client.get(href(third, "Newer"))) == made[50:100]
    assert titles(admin_client.get(href(third, "Newest"))) == made[:50]


def test_pages_are_walked_where_all_were_asked_for_at_the_same_moment(admin_client):
    operations(120, created_at=timezone.now())
    seen, page = [], admin_client.get(LIST)
    while True:
        seen += [one.pk for one in page.context["cl"].result_list]
        if not (url := href(page, "Older")):
            break
        page = admin_client.get(url)
    assert seen == list(Operation.objects.order_by("-id").values_list("pk", flat=True))


def test_the_count_stops(admin_client, monkeypatch):
    operations(5)
    assert "5 operations" in text(admin_client.get(LIST))
    monkeypatch.setattr(looking, "MOST", 3)
    operations(60)
    assert "3+ operations" in text(admin_client.get(LIST))


def test_a_rare_filter_looks_through_a_window_says_so_and_can_look_further(admin_client, monkeypatch):
    monkeypatch.setattr(looking, "WINDOW", 10)
    made = operations(35)
    operations(1, task="rare", title="found", created_at=made[0].created_at - timedelta(seconds=9))
    page = admin_client.get(f"{LIST}?task=rare")
    for _ in range(3):
        assert titles(page) == []
        assert "10 operations were looked through" in text(page)
        page = admin_client.get(href(page, "Look further"))
    assert titles(page) == ["found"]
    assert not href(page, "Look further")
    assert "looked through" not in text(page)


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("state=failed", {"failed", "failed long ago"}),
        ("stuck=yes", {"waits", "lost"}),
        ("failed=hour", {"failed"}),
        ("failed=day", {"failed"}),
        ("task=other", {"other"}),
        ("queue=slow", {"slow"}),
        ("model=testapp.page", {"about a page"}),
        ("state=failed&task=other", set()),
    ],
)
def test_the_list_is_filtered(admin_client, query, shown):
    late = timezone.now() - timedelta(hours=1)
    operation(State.QUEUED, title="new")
    operation(State.QUEUED, age=3600, title="waits")
    operation(State.RUNNING, title="lost", due_at=late)
    operation(State.FAILED, title="failed")
    operation(State.FAILED, age=100_000, title="failed long ago")
    operation(State.SUCCEEDED, title="other", task="other")
    operation(State.SUCCEEDED, title="slow", queue="slow")
    operation(State.SUCCEEDED, title="about a page", subject_label="testapp.page", subject_id="1")
    assert set(titles(admin_client.get(f"{LIST}?{query}"))) == shown


def test_a_search_finds_by_id_key_and_object(admin_client, worker):
    note, page = NoteFactory(), PageFactory()
    copied, charged = copy_note.enqueue(note), charge.enqueue(12345)
    operation(title="other", subject_label="testapp.page", subject_id=str(page.pk))
    for term in (str(copied.pk), copied.pk.hex, f"testapp.note:{note.pk}", f"Note:{note.pk}"):
        assert [one.pk for one in admin_client.get(LIST, {"q": term}).context["cl"].result_list] == [copied.pk], term
    assert [one.pk for one in admin_client.get(LIST, {"q": "12345"}).context["cl"].result_list] == [charged.pk]
    assert copied.pk in [one.pk for one in admin_client.get(LIST, {"q": str(note.pk)}).context["cl"].result_list]
    assert titles(admin_client.get(LIST, {"q": "nothing like it"})) == []


def test_a_search_for_the_id_of_a_duplicate_finds_what_it_waits_for(admin_client):
    first = operation(title="first")
    duplicate = operation(waits_for=first.pk)
    assert titles(admin_client.get(LIST, {"q": str(duplicate.pk)})) == ["first"]
    page = admin_client.get(reverse("admin:django_task_safety_operation_change", args=[duplicate.pk]))
    assert page.url.endswith(f"{first.pk}/change/")


def test_the_list_shows_who_asked_and_the_object_as_links(admin_client, admin_user):
    page = PageFactory()
    operation(
        title="<b>bold</b>\x1b[0m\u202e",
        requested_by=str(admin_user.pk),
        subject_label="testapp.page",
        subject_id=str(page.pk),
    )
    shown = text(admin_client.get(LIST))
    assert f'<a href="{reverse("admin:testapp_page_change", args=[page.pk])}">Page {page.pk}</a>' in shown
    assert f'<a href="{LIST}?requested_by={admin_user.pk}">admin</a>' in shown
    assert "&lt;b&gt;bold&lt;/b&gt;\\x1b[0m\\u202e" in shown


def test_the_object_is_no_link_for_whom_may_not_see_it(staff):
    operation(subject_label="testapp.page", subject_id="7")
    shown = text(staff("view_operation").get(LIST))
    assert "Page 7" in shown
    assert "page/7/change/" not in shown


@pytest.mark.parametrize("lookup", ["payload__contains=secret", "result_payload__startswith=a", "key_digest=x"])
def test_columns_cannot_be_asked_for_what_is_in_them(admin_client, lookup):
    operation(payload='[["secret"], {}]')
    assert admin_client.get(f"{LIST}?{lookup}").status_code == 400


@pytest.mark.parametrize("query", ["before=nonsense", "after=2026-01-01_x", "before=%00"])
def test_a_page_that_cannot_be_leads_to_the_first(admin_client, query):
    assert admin_client.get(f"{LIST}?{query}").status_code == 302


def test_the_rows_alone_are_answered_with_an_etag_and_when_to_look_again(admin_client):
    made = operation(title="a row")
    url = reverse("admin:django_task_safety_operation_live_list")
    answer = admin_client.get(url)
    assert "a row" in text(answer)
    assert "csrf" not in text(answer)
    assert answer["Retry-After"] == "5"
    assert admin_client.get(url, headers={"If-None-Match": answer["ETag"]}).status_code == 304
    made.cancel()
    assert admin_client.get(url, headers={"If-None-Match": answer["ETag"]}).status_code == 200


def test_the_scripts_are_small():
    found = [finders.find(f"django_task_safety/{name}.js") for name in ("live", "admin")]
    assert sum(len(Path(path).read_bytes()) for path in found) < 4096


def test_the_list_of_what_is_stuck_says_why(admin_client):
    operation(State.QUEUED, age=3600, title="waits")
    assert "No worker is running." in text(admin_client.get(f"{LIST}?stuck=yes"))
    assert "No worker is running." not in text(admin_client.get(LIST))
