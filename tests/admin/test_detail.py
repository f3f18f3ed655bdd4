"""The page of one operation in the admin."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from django_task_safety import ledger, safe_task
from tests.support.factories import NoteFactory
from tests.support.operations import only
from tests.support.rows import operation
from tests.testapp.models import Note
from tests.testapp.tasks import act, copy_note

pytestmark = pytest.mark.django_db


@safe_task(redact=["secret"])
def whispers(word: str, secret: str) -> str:
    return f"did {word}"


def url(made, page: str = "change") -> str:
    return reverse(f"admin:django_task_safety_operation_{page}", args=[made.pk])


def text(response) -> str:
    assert response.status_code == 200, response
    return response.content.decode()


def test_the_page_tells_what_happened_in_the_order_of_time(staff, worker):
    client = staff("view_operation")
    made = act.options(requested_by=client.user).enqueue("flaky", until=2)
    worker.finish()
    made.refresh_from_db()
    made.rerun(by=client.user)
    made.cancel("not <i>again</i>", by=client.user)
    page = text(client.get(url(made)))
    words = ["Asked for", "Attempt 1 started", "retried", "Run once more by hand", "Cancelled by hand"]
    places = [page.index(word) for word in words]
    assert places == sorted(places)
    assert f"{client.user.username}: not &lt;i&gt;again&lt;/i&gt;" in page
    assert f"by {client.user.username}</span>" in page
    assert "ConnectionError" in page


def test_arguments_result_and_traceback_are_for_those_with_permission(staff, worker):
    done = whispers.enqueue("word", secret="hush")
    failed = act.enqueue("raise", message="boom")
    worker.drain()
    some, every = staff("view_operation"), staff("view_operation", "view_operation_arguments")
    shown = text(every.get(url(done)))
    assert all(word in shown for word in ("&#x27;word&#x27;", "•••", "did word"))
    assert "hush" not in shown
    assert "Traceback (most recent" in text(every.get(url(failed)))
    for made in (done, failed):
        for page in ("change", "live"):
            shown = text(some.get(url(made, page)))
            assert not [word for word in ("did word", "•••", "Traceback (most recent", "Arguments") if word in shown]


def test_arguments_are_named_however_they_were_passed(admin_client):
    shown = text(admin_client.get(url(whispers.enqueue("aloud", "hush"))))
    assert "<dt><code>word</code></dt><dd><code>&#x27;aloud&#x27;</code></dd>" in shown
    assert "<dt><code>secret</code></dt><dd><code>•••</code></dd>" in shown


def test_the_attempt_that_runs_after_a_retry_is_told_though_it_counts_from_one(admin_client, worker):
    made = act.enqueue("raise", message="boom")
    worker.drain()
    made.refresh_from_db()
    made.retry()
    ledger.claim(made.pk, "w@host", 30, None)
    shown = text(admin_client.get(url(made)))
    assert shown.count("Attempt 1 started") == 2
    assert shown.index("Retried by hand") < shown.rindex("Attempt 1 started")


def test_the_timeline_says_an_error_once_and_when_to_the_second(admin_client, worker):
    made = act.enqueue("raise", message="boom")
    worker.drain()
    made.refresh_from_db()
    happened = text(admin_client.get(url(made))).partition("ts-timeline")[2].partition("</ol>")[0]
    assert happened.count("boom") == 1
    assert f"{timezone.localtime(made.ended_at):%H:%M:%S}" in happened


def test_arguments_of_a_task_that_is_not_known_here_are_not_shown(admin_client):
    made = operation(task="gone.task", payload='[["hush"], {"secret": "hush"}]')
    shown = text(admin_client.get(url(made)))
    assert "hush" not in shown
    assert "does not know the task" in shown


@pytest.mark.parametrize("payload", ["nonsense", "!application/x-python-serialize!binary!gASVBAAAAAAAAAA=", '{"a": 1}'])
def test_what_cannot_be_read_is_said_and_does_no_harm(admin_client, payload):
    made = operation("succeeded", payload=payload, result_payload=payload)
    shown = text(admin_client.get(url(made)))
    assert "cannot be read back" in shown or "values to unpack" in shown


def test_texts_of_others_are_escaped_and_long_ones_cut(admin_client):
    bad = "<script>alert(1)</script>\x1b"
    made = operation("failed", title=bad, key=bad, error=bad, traceback=bad + "x" * 90_000, worker=bad, queue=bad)
    shown = text(admin_client.get(url(made)))
    assert "<script>alert" not in shown
    assert len(shown) < 60_000


def test_a_page_takes_at_most_six_statements_beside_those_for_session_and_user(admin_client, admin_user):
    asked = {"requested_by": str(admin_user.pk), "subject_label": "testapp.page", "subject_id": "1"}
    made = operation("running", started_at=timezone.now(), worker="w@host", **asked)
    operation(waits_for=made.pk)
    with CaptureQueriesContext(connection) as seen:
        shown = text(admin_client.get(url(made)))
    assert "Duplicates that wait for it" in shown
    own = [one["sql"] for one in seen if "django_session" not in one["sql"]]
    assert len(own) - 1 <= 6, own


def test_a_page_keeps_itself_up_to_date_until_the_operation_has_ended(admin_client):
    made = operation("running", age=50, started_at=timezone.now() - timedelta(seconds=50), progress=0.4)
    assert f'data-live="{url(made, "live")}"' in text(admin_client.get(url(made)))
    answer = admin_client.get(url(made, "live"))
    assert "40 %" in text(answer)
    assert answer["Retry-After"] == "5"
    again = admin_client.get(url(made, "live"), headers={"If-None-Match": answer["ETag"]})
    assert (again.status_code, again["Retry-After"]) == (304, "5")
    made.cancel()
    ended = admin_client.get(url(made, "live"))
    assert "Retry-After" not in ended
    assert "data-live" not in text(admin_client.get(url(made)))


def test_an_object_is_named_without_being_loaded(admin_client, worker):
    note = NoteFactory()
    copy_note.enqueue(note)
    Note.objects.all().delete()
    assert f"Note {note.pk}" in text(admin_client.get(url(only())))
