"""``manage.py task_safety purge``: what was removed long ago is deleted for good."""

import io
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models.signals import pre_delete
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_task_safety import PROTECT, safe_task
from django_task_safety.management.commands.task_safety import Command
from django_task_safety.soft_delete.detachment import Detachment
from django_task_safety.soft_delete.purge import soft_models
from tests.notesapp.models import (
    Attachment,
    Copy,
    Note,
    Notebook,
    Page,
    PinnedNote,
    Receipt,
    Reminder,
    Report,
    Signature,
)
from tests.support.ids import label

pytestmark = pytest.mark.django_db


@safe_task(on_delete=PROTECT)
def protects(note: Note) -> None: ...


def removed(days: float, **values: Any) -> Note:
    note = Note.objects.create(**{"title": "a", **values})
    note.delete()
    age(days, note)
    return note


def age(days: float, *objs: Any) -> None:
    """Have the objects been removed so long ago."""
    for obj in objs:
        type(obj).all_objects.filter(removal=obj.removal).update(removed_at=timezone.now() - timedelta(days=days))


def purge(*arguments: Any) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    call_command("task_safety", "purge", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def left() -> set[Note]:
    return set(Note.all_objects.all())


def test_purge_deletes_what_was_removed_more_than_thirty_days_ago():
    removed(31)
    recent, live = removed(29), Note.objects.create(title="a")
    assert purge() == ("deleted notesapp.Note 1\n", "")
    assert left() == {recent, live}


def test_purge_says_that_there_was_nothing_to_do():
    Note.objects.create(title="a")
    assert purge("--older-than", "0") == ("deleted nothing\n", "")


def test_purge_takes_the_age_to_purge():
    removed(3)
    recent = removed(1)
    assert purge("--older-than", "2")[0] == "deleted notesapp.Note 1\n"
    assert left() == {recent}
    assert purge("--older-than", "0.5")[0] == "deleted notesapp.Note 1\n"


def test_purge_leaves_what_was_removed_at_an_unknown_time():
    note = removed(31)
    Note.all_objects.update(removed_at=None)
    purge("--older-than", "0")
    assert left() == {note}


def test_a_dry_run_of_purge_only_counts():
    note = removed(31)
    assert purge("--dry-run") == ("due, protected ones included: notesapp.Note 1\n", "")
    assert left() == {note}


def test_purge_takes_the_model_to_purge():
    note = removed(31)
    notebook = Notebook.objects.create(title="n")
    notebook.delete()
    age(31, notebook)
    assert purge("--model", "notesapp.Notebook")[0] == "deleted notesapp.Notebook 1\n"
    assert left() == {note}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "nothing"], "nothing"),
        (["--model", "notesapp.Nothing"], "Nothing"),
        (["--model", "notesapp.Receipt"], "not soft-deletable. Those that are: .*notesapp.Note,"),
        (["--batch", "0"], "1 or more"),
        (["--model", "Note"], "--model Note: .*app_label.Model"),
        (["--batch", "x"], "1 or more, not 'x'"),
        (["--older-than", "soon"], "0 or more, not 'soon'"),
        (["--older-than=-1"], "0 or more"),
        (["--older-than", "nan"], "0 or more"),
    ],
    ids=label,
)
def test_purge_refuses_bad_arguments(arguments, message):
    note = removed(31)
    with pytest.raises(CommandError, match=message):
        purge(*arguments)
    assert left() == {note}


@pytest.mark.parametrize("action", ["sweep", "purge"])
@pytest.mark.parametrize(
    "option", ["--settings=a.b", "--pythonpath=.", "-v2", "--traceback", "--no-color", "--force-color", "--skip-checks"]
)
def test_the_command_takes_djangos_own_options_before_the_action_and_after_it(action, option):
    parser = Command().create_parser("manage.py", "task_safety")
    before, after, none = (parser.parse_args(words) for words in ([option, action], [action, option], [action]))
    assert before == after != none


def test_purge_counts_what_goes_with_an_object():
    note = Note.objects.create(title="a")
    Copy.objects.create(note=note)
    note.delete()
    age(31, note)
    Copy.all_objects.update(removed_at=note.removed_at + timedelta(days=365))
    assert purge()[0] == "deleted notesapp.Copy 1, notesapp.Note 1\n"


def test_purge_deletes_children_before_the_parents_that_they_protect():
    note = Note.objects.create(title="a")
    signature = Signature.objects.create(note=note)
    signature.delete()
    note.delete()
    age(31, note, signature)
    assert purge() == ("deleted notesapp.Note 1, notesapp.Signature 1\n", "")


@pytest.mark.parametrize("model", ["notesapp.Page", ["notesapp.Page"]])
def test_purge_called_from_code_takes_model_names_as_on_the_command_line(model):
    note = removed(31)
    out = io.StringIO()
    call_command("task_safety", "purge", model=model, stdout=out)
    assert (out.getvalue(), left()) == ("deleted nothing\n", {note})


def test_purge_skips_and_reports_a_protected_object_and_goes_on():
    notes = [removed(31, title=str(number)) for number in range(7)]
    Receipt.objects.create(note=notes[3])
    out, err = io.StringIO(), io.StringIO()
    with pytest.raises(CommandError, match="Objects skipped: 1") as raised:
        call_command("task_safety", "purge", stdout=out, stderr=err)
    assert raised.value.returncode == 1
    assert out.getvalue() == "deleted notesapp.Note 6\n"
    assert f"skipped notesapp.Note {notes[3].pk}: Cannot delete" in err.getvalue()
    assert left() == {notes[3]}


def test_purge_skips_what_an_operation_protects():
    note = Note.objects.create(title="a")
    operation = protects.enqueue(note)
    Note.all_objects.update(is_removed=True, removed_at=timezone.now() - timedelta(days=31))
    with pytest.raises(CommandError):
        purge()
    assert left() == {note}
    operation.cancel()
    assert purge()[0] == "deleted notesapp.Note 1\n"


@pytest.mark.parametrize("deep", [False, True])
def test_purge_does_not_delete_with_its_parent_what_was_restored_alone(deep):
    note = Note.objects.create(title="a")
    copy = Copy.objects.create(note=note)
    page = Page.objects.create(copy=copy)
    note.delete()
    (page if deep else copy).restore()
    age(31, note)
    other = removed(31)
    err = io.StringIO()
    with pytest.raises(CommandError):
        call_command("task_safety", "purge", stdout=io.StringIO(), stderr=err)
    assert left() == {note}
    assert Page.objects.get() == page
    assert f"skipped notesapp.Note {note.pk}: It has live children, notesapp." in err.getvalue()
    assert other not in left()
    Note.all_objects.get().restore()
    assert Page.objects.get().copy.note == note


def test_purge_deletes_children_that_have_no_soft_delete_with_their_object():
    note = removed(31)
    Attachment.objects.create(note=note)
    assert purge()[0] == "deleted notesapp.Attachment 1, notesapp.Note 1\n"


def test_purge_deletes_many_objects_in_batches():
    Note.objects.bulk_create([Note(title=str(number)) for number in range(25)])
    Note.objects.all().delete()
    age(31, Note.removed_objects.first())
    with CaptureQueriesContext(connection) as queries:
        assert purge("--batch", "10")[0] == "deleted notesapp.Note 25\n"
    begun = [query for query in queries if query["sql"].startswith(("SAVEPOINT", "BEGIN"))]
    assert len(begun) >= 3


def test_purge_leaves_an_object_that_is_restored_meanwhile():
    first, second = removed(31), removed(31)

    def restore(instance: Note, **kwargs: Any) -> None:
        Note.removed_objects.filter(pk=second.pk).restore()

    pre_delete.connect(restore, sender=Note)
    try:
        purge("--batch", "1")
    finally:
        pre_delete.disconnect(restore, sender=Note)
    assert left() == {second}
    assert first not in left()


def test_purging_a_child_by_inheritance_takes_its_parents_row():
    report = Report.objects.create(title="a")
    report.delete()
    age(31, report)
    assert purge()[0] == "deleted notesapp.Note 1, notesapp.Report 1\n"
    assert not PinnedNote.all_objects.exists()


@pytest.mark.parametrize("hard_delete", [lambda obj: obj.hard_delete(), lambda obj: obj.notebook.hard_delete()])
def test_purge_forgets_what_was_detached_from_what_is_gone(hard_delete):
    note = Note.objects.create(title="a", notebook=Notebook.objects.create(title="n"))
    Reminder.objects.create(note=note)
    note.delete()
    purge()
    assert Detachment.objects.exists()
    hard_delete(note)
    purge("--dry-run")
    assert Detachment.objects.exists()
    purge()
    assert not Detachment.objects.exists()


def test_purge_forgets_what_was_detached_from_a_purged_object():
    note, other = Note.objects.create(title="a"), Note.objects.create(title="b")
    for one in (note, other):
        Reminder.objects.create(note=one)
        one.delete()
    age(31, note)
    purge()
    assert [detachment.old for detachment in Detachment.objects.all()] == [str(other.pk)]


def test_purge_takes_every_soft_deletable_model_before_what_it_points_to():
    order = soft_models()
    assert {Page, Copy, Signature, Report, Note, Notebook} <= set(order)
    assert not {Receipt, PinnedNote} & set(order)
    for child, parent in [(Page, Copy), (Copy, Note), (Signature, Note), (Report, Note), (Note, Notebook)]:
        assert order.index(child) < order.index(parent)
