"""A stranger's transaction holds whatever a worker may wait for, and does not end: nothing that a worker does waits as
long as that."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import connection
from kombu.message import Message

from django_task_safety import idempotent_task
from django_task_safety.ledger import table
from django_task_safety.models import Operation
from django_task_safety.objects import conflicts
from tests.support.delivering import LocalWorker
from tests.support.factories import NoteFactory
from tests.support.racing import open_transaction
from tests.testapp.models import Note

State = Operation.State
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("sqlite" in connection.vendor, reason="SQLite has one writer, and no locks of rows"),
]
#: Seconds: less than the stranger's transaction lasts, and far more than anything here takes.
SOON = 25


@idempotent_task(key="key", on_duplicate="replace")
def newest(key: str, number: int) -> int:
    return number


@idempotent_task(key="note", on_duplicate="replace")
def newest_of(note: Note, number: int) -> int:
    return number


@idempotent_task(key="key", rerun="always")
def again(key: str) -> str:
    return key


def hold_all() -> None:
    """Lock every operation."""
    assert table.locked(table.rows(), wait=True)


def sent(worker: LocalWorker, task: Any, *args: Any) -> list[Message]:
    """Return a message without a row, after those that were sent before."""
    task.app.send_task(task.name, args)
    return worker.take()


def comes_back(
    worker: LocalWorker, in_thread: Callable, messages: list[Message], hold: Callable[[], Any] = hold_all
) -> None:
    """Deliver the last message while the stranger holds what it needs, and once more when it has come back."""
    *earlier, message = messages
    with open_transaction(hold):
        assert in_thread(partial(worker.deliver, message)).result(SOON).state == "IGNORED"
        returned = worker.take_one()
    for one in (returned, *earlier):
        worker.deliver(one)
    worker.finish()


def test_a_message_that_replaces_a_held_rows_arguments_comes_back(worker, in_thread):
    first = newest.enqueue("a", 1)
    comes_back(worker, in_thread, sent(worker, newest, "a", 2))
    first.refresh_from_db()
    assert (first.state, first.result) == (State.SUCCEEDED, 2)


def test_a_message_that_runs_a_held_row_again_comes_back(worker, in_thread):
    first = again.enqueue("a")
    worker.finish()
    comes_back(worker, in_thread, sent(worker, again, "a"))
    first.refresh_from_db()
    assert (first.state, first.generation) == (State.SUCCEEDED, 1)


def test_a_message_whose_object_is_held_comes_back(worker, in_thread):
    note = NoteFactory()
    first = newest_of.enqueue(note, 1)
    messages = sent(worker, newest_of, note.pk, 2)
    comes_back(worker, in_thread, messages, lambda: Note.objects.select_for_update().get())
    first.refresh_from_db()
    assert (first.state, first.result) == (State.SUCCEEDED, 2)


def test_a_message_whose_key_somebody_takes_while_it_is_resolved_comes_back(worker, in_thread, monkeypatch):
    newest.enqueue("a", 1)
    message, look, rival = sent(worker, newest, "a", 2)[-1], conflicts.look, []

    def vanish(asked: Operation) -> None:
        look(asked)
        if not rival:
            rival.append(open_transaction(lambda: newest.enqueue("a", 3)))
            rival[0].__enter__()

    def find(**wanted: Any) -> Operation | None:
        Operation.all_rows.all().delete()
        return None

    monkeypatch.setattr(conflicts, "look", vanish)
    with monkeypatch.context() as patch:
        patch.setattr(table, "find", find)
        assert in_thread(partial(worker.deliver, message)).result(SOON).state == "IGNORED"
    rival[0].__exit__(None, None, None)
    worker.drain()
    worker.finish()
    assert Operation.objects.get().result == 2


def test_a_held_row_is_not_reported_as_a_database_that_does_not_answer(worker, in_thread, caplog):
    newest.enqueue("a", 1)
    with caplog.at_level(logging.INFO, "django_task_safety"):
        comes_back(worker, in_thread, sent(worker, newest, "a", 2))
    assert "somebody's transaction holds what it needs" in caplog.text
    assert "does not answer" not in caplog.text
