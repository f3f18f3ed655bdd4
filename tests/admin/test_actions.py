"""What one can do with operations in the admin."""

import re

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.urls import reverse
from django.utils import timezone
from kombu import Connection, Producer
from kombu.exceptions import OperationalError

from django_task_safety import safe_task
from django_task_safety.admin import acting, actions, bulk
from django_task_safety.ledger import table
from django_task_safety.models import Operation
from django_task_safety.record import State
from tests.support.factories import PageFactory
from tests.support.operations import state
from tests.support.racing import open_transaction
from tests.support.rows import operation, operations
from tests.testapp.models import Page
from tests.testapp.tasks import charge, record

pytestmark = pytest.mark.django_db
LIST = reverse("admin:django_task_safety_operation_changelist")


@safe_task(on_delete="protect")
def protects(page: Page) -> None: ...


ALL = ("view_operation", "cancel_operation", "retry_operation")


def text(response) -> str:
    assert response.status_code == 200, response
    return response.content.decode()


def confirm(client, response, **more):
    """Send the form of a page that asks."""
    form = text(response)
    form = form[form.index('<form method="post">') :]
    inputs = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form)
    data: dict[str, list[str]] = {}
    for name, value in inputs:
        data.setdefault(name, []).append(value)
    return client.post(response.wsgi_request.get_full_path(), {**data, **more}, follow=True)


def ask(client, action: str, *chosen: Operation, query: str = "", **more):
    data = {"action": action, "_selected_action": [str(one.pk) for one in chosen], "index": "0", **more}
    return client.post(LIST + query, data)


def test_cancelling_asks_for_a_reason_says_what_was_skipped_and_is_logged(staff):
    client = staff(*ALL)
    waiting, running, ended = operation(), operation(State.RUNNING), operation(State.SUCCEEDED)
    asked = ask(client, "cancel_selected", waiting, running, ended)
    assert 'name="reason"' in text(asked)
    assert state(waiting) == "queued"
    done = text(confirm(client, asked, reason="no <b>longer</b> wanted"))
    assert "2 cancelled." in done
    assert "1 skipped: they had ended." in done
    assert [state(one) for one in (waiting, running, ended)] == ["cancelled", "cancelled", "succeeded"]
    waiting.refresh_from_db()
    assert waiting.error == "no <b>longer</b> wanted"
    assert [(event.what, event.by, event.why) for event in waiting.events] == [
        ("cancel", str(client.user.pk), "no <b>longer</b> wanted")
    ]
    logged = LogEntry.objects.filter(user=client.user)
    assert {entry.object_id for entry in logged} == {str(waiting.pk), str(running.pk)}
    assert "no <b>longer</b> wanted" in logged[0].change_message


def test_what_failed_or_was_cancelled_is_retried(staff, worker):
    client = staff(*ALL)
    cancelled, done = record.enqueue("x"), record.enqueue("y")
    cancelled.cancel()
    worker.drain()
    shown = text(confirm(client, ask(client, "retry_selected", cancelled, done)))
    assert "1 queued again." in shown
    assert "1 skipped: they are pending, or have succeeded." in shown
    assert state(cancelled) == "queued"
    assert [event.by for event in Operation.objects.get(pk=cancelled.pk).events] == ["", str(client.user.pk)]


def test_what_succeeded_is_run_once_more(staff, worker):
    client = staff(*ALL)
    done = charge.enqueue(5)
    worker.drain()
    shown = text(confirm(client, ask(client, "rerun_selected", done, operation())))
    assert "1 queued once more." in shown
    assert "1 skipped: they have not succeeded." in shown
    assert state(done) == "queued"


@pytest.mark.parametrize(
    ("what", "before", "after"), [("cancel", "queued", "cancelled"), ("retry", "failed", "queued")]
)
def test_one_operation_has_buttons_on_its_page(staff, what, before, after):
    client, made = staff(*ALL), operation(before)
    page = text(client.get(reverse("admin:django_task_safety_operation_change", args=[made.pk])))
    url = reverse(f"admin:django_task_safety_operation_{what}", args=[made.pk])
    assert f'href="{url}"' in page
    asked = client.get(url)
    assert state(made) == before
    done = confirm(client, asked)
    assert done.redirect_chain[-1][0].endswith(f"{made.pk}/change/")
    assert state(made) == after


def test_no_page_needs_the_broker_or_the_result_backend(staff, worker, monkeypatch):
    client, done, failed, waiting = staff(*ALL), charge.enqueue(5), operation(State.FAILED), operation()
    worker.drain()

    def refuse(*args, **kwargs):
        raise OperationalError("unreachable")

    monkeypatch.setattr("django_task_safety.producer.outbox.PAUSE", 0.0)
    monkeypatch.setattr(Producer, "publish", refuse)
    monkeypatch.setattr(Connection, "_establish_connection", refuse)
    for call in ("store_result", "get_task_meta", "forget"):
        monkeypatch.setattr(type(charge.app.backend), call, refuse)
    for verb, made in (("retry", failed), ("rerun", done), ("cancel", waiting)):
        client.get(reverse("admin:django_task_safety_operation_change", args=[made.pk]))
        asked = client.get(reverse(f"admin:django_task_safety_operation_{verb}", args=[made.pk]))
        assert confirm(client, asked).redirect_chain[-1][0].endswith(f"{made.pk}/change/")
    assert [state(one) for one in (failed, done, waiting)] == ["queued", "queued", "cancelled"]
    assert "unreachable" not in text(client.get(LIST))
    user, mine = client.user, reverse("task_safety:mine")
    Operation.objects.update(requested_by=str(user.pk))
    pages = [mine, *(reverse("task_safety:operation", args=[one.pk]) for one in (failed, done, waiting))]
    assert [client.get(page).status_code for page in pages] == [200] * 4


@pytest.mark.parametrize("ticked", ["nonsense", "\x00", "x" * 5000])
def test_what_is_ticked_and_is_no_id_is_a_bad_request(staff, ticked):
    waiting = operation()
    data = {"action": "cancel_selected", "post": "yes", "_selected_action": [str(waiting.pk), ticked]}
    assert staff(*ALL).post(LIST, data).status_code == 400
    assert state(waiting) == "queued"


def test_a_reason_is_kept_as_what_every_database_stores(staff):
    client, waiting = staff(*ALL), operation()
    url = reverse("admin:django_task_safety_operation_cancel", args=[waiting.pk])
    assert client.post(url, {"post": "yes", "reason": "no\x00more"}).status_code == 302
    assert "no\\x00more" in LogEntry.objects.get().change_message
    waiting.refresh_from_db()
    assert waiting.error == "no\\x00more"


def test_all_that_match_are_done_at_once_where_they_are_few(staff):
    client = staff(*ALL)
    operations(60, State.QUEUED, task="some")
    other = operation(task="other")
    ticked = Operation.objects.filter(task="some").first()
    asked = ask(client, "cancel_selected", ticked, query="?task=some", select_across="1")
    assert "All that match: 60" in text(asked)
    assert "60 cancelled." in text(confirm(client, asked))
    assert state(other) == "queued"


def test_many_that_match_are_an_operation_of_its_own(staff, worker, monkeypatch):
    monkeypatch.setattr(actions, "AT_ONCE", 10)
    client = staff(*ALL, "view_operation_arguments")
    operations(60, State.QUEUED, task="some")
    ended, other = operation(State.FAILED, task="some"), operation(task="other")
    asked = ask(client, "cancel_selected", ended, query="?task=some", select_across="1")
    page = confirm(client, asked, reason="too many")
    made = Operation.objects.get(task="django_task_safety.act_on_all")
    assert page.redirect_chain[-1][0] == reverse("admin:django_task_safety_operation_change", args=[made.pk])
    assert made.requested_by == str(client.user.pk)
    late = operation(task="some")
    worker.drain()
    made.refresh_from_db()
    assert (made.state, made.error) == ("succeeded", "")
    assert made.result == {"done": 60, "skipped": {"ended": 1}}
    assert set(Operation.objects.filter(error="too many").values_list("task", flat=True)) == {"some"}
    assert (state(other), state(late)) == ("queued", "queued")
    assert LogEntry.objects.filter(user=client.user).count() == 60


def test_what_ends_while_many_are_cancelled_is_skipped_and_said(staff, worker, monkeypatch):
    monkeypatch.setattr(actions, "AT_ONCE", 10)
    monkeypatch.setattr(bulk, "BATCH", 10)
    client, act = staff(*ALL), acting.act
    some = operations(30, State.QUEUED, task="some")
    confirm(client, ask(client, "cancel_selected", some[0], query="?task=some", select_across="1"))

    def end_others_and_act(verb, pks, user, reason):
        # One of those that are cancelled now, and some whose turn comes later.
        ending = [pks[0], *(one.pk for one in some[-4:])]
        Operation.objects.filter(pk__in=ending).update(state=State.SUCCEEDED, ended_at=timezone.now())
        return act(verb, pks, user, reason)

    monkeypatch.setattr(acting, "act", end_others_and_act)
    worker.drain()
    made = Operation.objects.get(task="django_task_safety.act_on_all")
    done = Operation.objects.filter(task="some", state=State.CANCELLED).count()
    assert made.result == {"done": done, "skipped": {"ended": 30 - done}}
    page = reverse("admin:django_task_safety_operation_change", args=[made.pk])
    assert f"{done} cancelled. {30 - done} skipped: they had ended." in text(client.get(page))
    assert done < 26


def test_work_in_the_background_is_refused_where_the_permission_is_gone(staff, worker, monkeypatch):
    monkeypatch.setattr(actions, "AT_ONCE", 1)
    client = staff(*ALL)
    waiting = operations(3, State.QUEUED, task="some")
    confirm(client, ask(client, "cancel_selected", waiting[0], query="?task=some", select_across="1"))
    client.user.user_permissions.clear()
    worker.drain()
    made = Operation.objects.get(task="django_task_safety.act_on_all")
    assert made.state == "failed"
    assert "may not cancel" in made.error
    assert state(waiting[0]) == "queued"


def test_actions_are_not_offered_nor_done_without_their_permission(staff):
    client, waiting = staff("view_operation", "retry_operation"), operation()
    shown = text(client.get(LIST))
    assert "retry_selected" in shown
    assert "cancel_selected" not in shown
    ask(client, "cancel_selected", waiting, post="yes")
    assert client.post(reverse("admin:django_task_safety_operation_cancel", args=[waiting.pk])).status_code == 403
    assert state(waiting) == "queued"


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("sqlite" in connection.vendor, reason="SQLite has one writer, and no locks of rows")
@pytest.mark.parametrize(
    ("action", "was", "said"),
    [
        ("cancel_selected", State.QUEUED, "1 cancelled."),
        ("retry_selected", State.FAILED, "1 queued again."),
        ("rerun_selected", State.SUCCEEDED, "1 queued once more."),
    ],
)
def test_what_somebody_holds_is_skipped_and_said(staff, in_thread, action, was, said):
    client = staff(*ALL)
    held, free = operations(2, was, task=record.name)
    asked = ask(client, action, held, free)
    with open_transaction(lambda: table.locked(table.by_id(held.pk))):
        page = in_thread(lambda: text(confirm(client, asked))).result(25)
        assert state(held) == was
    assert said in page
    assert "1 skipped: somebody else is changing them; try again." in page
    assert state(free) != was


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="the others wait as long as they are set up to")
def test_what_is_about_an_object_that_somebody_holds_is_skipped_and_said(staff, in_thread, worker):
    client, page = staff(*ALL), PageFactory()
    made = protects.enqueue(page)
    worker.take()
    Operation.objects.filter(pk=made.pk).update(state=State.FAILED)
    asked = ask(client, "retry_selected", made)
    with open_transaction(lambda: Page.objects.select_for_update().get()):
        done = in_thread(lambda: text(confirm(client, asked))).result(25)
    assert "1 skipped: somebody else is changing them; try again." in done
    assert state(made) == "failed"
