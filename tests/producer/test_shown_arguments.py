"""Arguments as people read them in logs, monitors and result backends."""

import logging
from collections.abc import Iterator

import pytest
from celery.backends.base import Backend

from django_task_safety import safe_task
from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from tests.celery import app
from tests.support.factories import NoteFactory
from tests.testapp.models import Note
from tests.testapp.tasks import copy_note, record


@safe_task(max_retries=0)
def fails(note: Note, text: str = "") -> None:
    raise ValueError("no")


@pytest.fixture
def extended() -> Iterator[Backend]:
    """A result backend that keeps what a result was about."""
    app.conf.result_extended = True
    yield app.backend
    app.conf.result_extended = False


def test_an_object_is_shown_by_its_class_and_key(worker):
    note = NoteFactory()
    copy_note.delay(note, copies=2)
    headers = worker.take_one().headers
    assert (headers["argsrepr"], headers["kwargsrepr"]) == (f"(<Note {note.pk}>,)", "{'copies': 2}")


def test_an_object_deep_in_the_arguments_is_shown_as_well(worker):
    note = NoteFactory()
    record.delay("a", key={"notes": [note]})
    assert worker.take_one().headers["kwargsrepr"] == f"{{'key': {{'notes': [<Note {note.pk}>]}}}}"


def test_plain_arguments_are_shown_as_celery_does(worker):
    record.delay("x" * 5000, key=[1, None])
    shown = worker.take_one().headers
    app.send_task(record.name, ("x" * 5000,), {"key": [1, None]})
    celerys = worker.take_one().headers
    assert (shown["argsrepr"], shown["kwargsrepr"]) == (celerys["argsrepr"], celerys["kwargsrepr"])


def test_a_dict_that_looks_like_a_reference_is_shown_as_it_is(worker):
    record.delay("a", key={"__model__": ["testapp.note", "1", "default", "forged"]})
    assert "<Note" not in worker.take_one().headers["kwargsrepr"]


def test_what_the_caller_shows_instead_is_kept_by_each_message(worker):
    record.apply_async(("secret",), argsrepr="(<hidden>,)", countdown=30)
    message = worker.take_one()
    assert message.headers["argsrepr"] == "(<hidden>,)"
    worker.deliver(message)  # too early: it is published again
    assert worker.take_one().headers["argsrepr"] == "(<hidden>,)"
    worker.pass_time(100)
    sweeper.sweep()
    assert worker.take_one().headers["argsrepr"] == "(<hidden>,)"


def test_no_log_shows_the_signature_of_a_reference(worker, caplog):
    caplog.set_level(logging.DEBUG)
    fails.delay(NoteFactory())
    worker.drain()
    assert not [entry for entry in caplog.records if "__model__" in entry.getMessage() + str(entry.__dict__)]


@pytest.mark.parametrize("told_by", ["sweep", "message"])
def test_the_result_of_a_cancelled_operation_says_what_it_was_about(worker, extended, told_by):
    note = NoteFactory()
    operation = copy_note.enqueue(note, copies=2)
    operation.cancel("why")
    if told_by == "sweep":
        worker.take()
        assert sweeper.sweep().notified == 1
    else:
        worker.drain()
    meta = extended.get_task_meta(str(operation.pk))
    assert (meta["status"], meta["name"], meta["kwargs"]) == ("REVOKED", copy_note.name, {"copies": 2})


def test_the_result_of_a_lost_operation_says_what_it_was_about(worker, extended):
    operation = fails.enqueue(NoteFactory())
    Operation.objects.update(max_attempts=1, attempt=1, state="running", worker="gone", due_at="2020-01-01 00:00Z")
    sweeper.sweep()
    meta = extended.get_task_meta(str(operation.pk))
    assert (meta["status"], meta["name"], meta["worker"]) == ("FAILURE", fails.name, "gone")


def test_the_failure_that_a_copy_tells_once_more_says_what_it_was_about(worker, extended):
    operation = fails.enqueue(NoteFactory())
    message = worker.take_one()
    worker.deliver(message)
    worker.deliver(message)
    assert extended.get_task_meta(str(operation.pk))["name"] == fails.name


def test_an_unreadable_payload_does_not_keep_an_outcome_from_who_waits(worker, extended):
    operation = record.enqueue("a")
    operation.cancel("why")
    worker.take()
    Operation.objects.update(payload="!no!such!thing")
    sweeper.sweep()
    assert extended.get_task_meta(str(operation.pk))["name"] == record.name
