"""What an operation is called where people see it, and by which queue it goes."""

import pytest

from django_task_safety import idempotent_task, safe_task
from django_task_safety.errors import InvalidOption
from django_task_safety.models import Operation
from tests.support.factories import NoteFactory
from tests.support.operations import only
from tests.testapp.models import Note


@safe_task
def copy_all_notes() -> None: ...


@safe_task(title="Copy {note} {copies} times")
def copy_note(note: Note, copies: int = 1) -> None: ...


@safe_task(title="Copy {note.title!r:.4} for {to[0]}")
def copy_to(note: Note, to: list[str]) -> None: ...


@safe_task(title=lambda order, **more: f"Order {order} of {sorted(more)}")
def charge(order: int, amount: int = 5) -> None: ...


@safe_task(title="Log in with {password}")
def log_in(password: str) -> None: ...


@safe_task(title=lambda **arguments: 1 / 0)
def untitled() -> None: ...


@idempotent_task(key="key", title="{key} is {value}", on_duplicate="replace")
def put(key: str, value: str) -> None: ...


@pytest.fixture
def note(db):
    return NoteFactory(title="Groceries")


def test_without_a_title_it_is_the_functions_name_in_words(worker):
    assert copy_all_notes.enqueue().title == "Copy all notes"
    copy_all_notes.delay()
    assert set(Operation.objects.values_list("title", flat=True)) == {"Copy all notes"}


def test_a_format_string_shows_the_arguments_and_defaults(worker, note):
    assert copy_note.enqueue(note).title == "Copy Groceries 1 times"
    assert copy_note.enqueue(note=note, copies=3).title == "Copy Groceries 3 times"


def test_an_object_that_was_passed_by_its_key_is_not_loaded_for_its_title(worker, note):
    assert copy_note.enqueue(note.pk).title == f"Copy note {note.pk} 1 times"


def test_a_format_string_may_look_into_arguments(worker, note):
    assert copy_to.enqueue(note, ["Ada", "Bob"]).title == "Copy 'Gro for Ada"


def test_a_callable_gets_the_bound_arguments(worker):
    assert charge.enqueue(7).title == "Order 7 of ['amount']"


def test_what_nobody_is_to_read_is_hidden(worker):
    assert log_in.enqueue("hunter22").title == "Log in with •••"


def test_a_title_that_cannot_be_made_does_not_keep_the_work_from_being_asked_for(worker, caplog):
    assert untitled.enqueue().title == "Untitled"
    assert "a title could not be made" in caplog.text


def test_a_title_is_one_line_of_at_most_255_characters(worker):
    title = put.enqueue("a\nb", "<b>" + "x" * 400).title
    assert title.startswith("a\\nb is <b>xxx")
    assert len(title) == 255
    assert only().title == title


def test_newer_arguments_bring_their_own_title(worker):
    put.enqueue("a", "1")
    put.enqueue("a", "2")
    assert only().title == "a is 2"


def test_a_message_without_a_row_gets_title_and_queue(worker):
    worker.app.send_task(charge.name, [8])
    worker.drain()
    assert (only().title, only().queue) == ("Order 8 of ['amount']", "celery")


@pytest.mark.parametrize("title", ["{missing}", "{0}", "{note", 5])
def test_a_title_that_cannot_work_is_refused_when_the_task_is_defined(title):
    with pytest.raises(InvalidOption, match="title"):

        @safe_task(title=title)
        def task(note: int) -> None: ...


def test_the_queue_is_the_one_that_it_is_published_by(worker):
    assert copy_all_notes.enqueue().queue == "celery"
    copy_all_notes.apply_async(queue="fast")
    assert Operation.objects.filter(queue="fast").count() == 1
