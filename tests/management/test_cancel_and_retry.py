"""``task_safety cancel`` and ``retry``: one, several, and all that fulfil something."""

import pytest

from django_task_safety.management import chosen
from django_task_safety.models import Operation
from tests.support.commands import task_safety
from tests.support.factories import NoteFactory, PageFactory
from tests.support.operations import state
from tests.testapp.guarded_tasks import cancelled_with
from tests.testapp.tasks import act, charge, copy_note, record

State = Operation.State


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(chosen, "BATCH", 2)


@pytest.mark.django_db
def test_cancel_ends_one_by_its_id_without_asking_and_keeps_the_reason_and_who():
    operation = record.enqueue("a")
    answer = task_safety("cancel", operation.pk, "--reason", "a mistake", "--by", "5")
    assert answer == (0, "Cancelled 1 operation.\n", "")
    operation.refresh_from_db()
    assert (operation.state, operation.error) == (State.CANCELLED, "a mistake")
    assert [(one.what, one.by) for one in operation.events] == [("cancel", "5")]


@pytest.mark.django_db
def test_cancel_says_which_had_ended_before():
    ended, pending = record.enqueue("a"), record.enqueue("b")
    ended.cancel()
    answer = task_safety("cancel", ended.pk, pending.pk, "--json")
    assert answer.json == {"cancelled": 1, "ended_before": 1}
    assert task_safety("cancel", ended.pk).out == "Cancelled 0 operations.\n1 operation had ended before.\n"


@pytest.mark.django_db
def test_cancel_of_an_id_that_is_none_cancels_nothing():
    operation = record.enqueue("a")
    answer = task_safety("cancel", operation.pk, "01890000-0000-7000-8000-000000000000")
    assert answer.code == 2
    assert state(operation) == State.QUEUED


@pytest.mark.django_db
def test_cancel_ends_all_pending_ones_that_fulfil_something(small_batches):
    record.enqueue_many([(str(number),) for number in range(5)])
    other = charge.enqueue(1)
    assert task_safety("cancel", "--task", record.name, "--yes").out == "Cancelled 5 operations.\n"
    assert state(other) == State.QUEUED
    assert Operation.objects.filter(state=State.CANCELLED).count() == 5


@pytest.mark.django_db
def test_cancel_ends_what_is_pending_on_an_object():
    note, other = NoteFactory(), NoteFactory()
    copy_note.enqueue(note)
    spared = copy_note.enqueue(other)
    assert task_safety("cancel", "--object", f"testapp.note:{note.pk}", "--yes", "--json").json["cancelled"] == 1
    assert state(spared) == State.QUEUED


def test_retry_queues_failed_ones_again_and_publishes_them(worker, small_batches):
    failed = [act.enqueue("raise", message=str(number)) for number in range(3)]
    done = record.enqueue("a")
    worker.drain()
    answer = task_safety("retry", "--state", "failed", "--by", "5", "--yes")
    assert answer == (0, "Queued 3 operations again.\n", "")
    assert {message.headers["id"] for message in worker.take()} == {str(one.pk) for one in failed}
    assert state(done) == State.SUCCEEDED
    failed[0].refresh_from_db()
    assert failed[0].events[0].by == "5"


def test_retry_of_one_that_did_not_fail_is_said_and_ends_with_1(worker):
    done, failed = record.enqueue("a"), act.enqueue("raise")
    worker.drain()
    answer = task_safety("retry", done.pk, failed.pk)
    assert answer.code == 1
    assert answer.out.startswith(f"Queued 1 operation again.\nskipped {done.pk}: It is succeeded")
    assert state(failed) == State.QUEUED


def test_retry_skips_what_is_refused_and_goes_on(worker):
    page = PageFactory()
    gone, failed = cancelled_with.enqueue(page), act.enqueue("raise")
    page.delete()
    worker.drain()
    answer = task_safety("retry", "--state", "failed", "--state", "cancelled", "--yes", "--json")
    assert answer.code == 1
    assert answer.json["retried"] == 1
    (skipped,) = answer.json["skipped"]
    assert skipped["id"] == str(gone.pk)
    assert "testapp.page" in skipped["why"].lower()
    assert state(failed) == State.QUEUED
