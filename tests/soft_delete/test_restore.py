"""restore() brings back exactly what went together."""

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.contenttypes.models import ContentType
from django.db import IntegrityError, connection, transaction
from django.db.models.signals import pre_delete
from django.test.utils import CaptureQueriesContext

from django_task_safety import ObjectGone
from django_task_safety.errors import RestoreConflict
from django_task_safety.soft_delete.detachment import Detachment
from tests.notesapp.models import (
    Address,
    Bookmark,
    Clause,
    Copy,
    Note,
    Notebook,
    Page,
    PinnedNote,
    Reminder,
    Report,
    Signature,
    Tag,
)

pytestmark = pytest.mark.django_db


def note(**values: Any) -> Note:
    return Note.objects.create(**{"title": "a", **values})


def fresh(obj: Any) -> Any:
    return type(obj)._base_manager.get(pk=obj.pk)


def is_removed(obj: Any) -> bool:
    return fresh(obj).is_removed


def tree(**values: Any) -> tuple[Note, Copy, Page]:
    given = note(**values)
    copy = Copy.objects.create(note=given)
    return given, copy, Page.objects.create(copy=copy)


WAYS = [
    lambda obj: obj.restore(),
    lambda obj: fresh(obj).restore(),
    lambda obj: type(obj).removed_objects.filter(pk=obj.pk).restore(),
    lambda obj: type(obj).all_objects.filter(pk=obj.pk).restore(),
    lambda obj: async_to_sync(obj.arestore)(),
    lambda obj: async_to_sync(type(obj).all_objects.filter(pk=obj.pk).arestore)(),
]
every_way = pytest.mark.parametrize("restore", WAYS)


@every_way
def test_a_restore_brings_back_together_what_went_together(restore):
    objs = tree()
    went = objs[0].delete()
    assert restore(objs[0]) == went
    for obj in objs:
        found = fresh(obj)
        assert (found.is_removed, found.removed_at, found.removal) == (False, None, None)


def test_a_restored_instance_knows_that_it_is_back():
    given = note()
    given.delete()
    given.restore()
    assert (given.is_removed, given.removed_at, given.removal) == (False, None, None)
    given.title = "b"
    given.save()
    assert fresh(given).title == "b"


def test_a_restore_brings_back_what_a_receiver_removed_with_the_object():
    def receive(instance: Note, **kwargs: Any) -> None:
        pre_delete.disconnect(receive, sender=Note)
        instance.copies.all().delete()
        fresh(instance).delete()

    given, copy, page = tree()
    pre_delete.connect(receive, sender=Note)
    went = given.delete()
    assert went == (3, {"notesapp.Note": 1, "notesapp.Copy": 1, "notesapp.Page": 1})
    assert given.removal == fresh(given).removal
    assert given.restore() == went
    assert not any(is_removed(obj) for obj in (given, copy, page))


@every_way
def test_a_restore_leaves_what_was_removed_before(restore):
    given, copy, page = tree()
    copy.delete()
    given.delete()
    assert restore(given) == (1, {"notesapp.Note": 1})
    assert is_removed(copy)
    assert is_removed(page)


@every_way
def test_restoring_one_of_several_objects_removed_together_brings_back_its_own_tree(restore):
    mine, theirs = tree(), tree()
    Note.objects.all().delete()
    assert restore(mine[0])[0] == 3
    assert [is_removed(obj) for obj in theirs] == [True] * 3
    assert restore(theirs[0])[0] == 3


def test_restoring_a_queryset_brings_back_several_trees():
    trees = [tree(), tree()]
    Note.objects.filter(pk=trees[0][0].pk).delete()
    trees[1][0].delete()
    counts = {"notesapp.Note": 2, "notesapp.Copy": 2, "notesapp.Page": 2}
    assert Note.removed_objects.all().restore() == (6, counts)
    assert not any(is_removed(obj) for objs in trees for obj in objs)


@every_way
def test_a_child_may_be_restored_alone(restore):
    given, copy, page = tree()
    given.delete()
    assert restore(copy) == (2, {"notesapp.Copy": 1, "notesapp.Page": 1})
    assert is_removed(given)
    assert restore(given) == (1, {"notesapp.Note": 1})
    assert not is_removed(page)


@every_way
def test_what_is_not_removed_cannot_be_restored(restore):
    given, copy, _ = tree()
    copy.delete()
    assert restore(given) == (0, {})
    assert is_removed(copy)


def test_restoring_a_live_object_changes_nothing():
    given = note()
    given.delete()
    assert Note.objects.all().restore() == (0, {})
    assert is_removed(given)


def test_restoring_what_was_deleted_for_good_is_refused():
    given = note()
    given.delete()
    fresh(given).hard_delete()
    with transaction.atomic():
        with pytest.raises(ObjectGone, match=rf"notesapp.Note {given.pk} was deleted for good"):
            given.restore()
        assert not Note.all_objects.exists()


def test_an_unsaved_object_cannot_be_restored():
    with pytest.raises(ValueError, match="never saved"):
        Note(title="a").restore()


def test_an_object_that_was_only_marked_as_removed_is_restored_alone():
    given, copy, _ = tree()
    Note.all_objects.update(is_removed=True)
    Copy.all_objects.update(is_removed=True)
    assert given.restore() == (1, {"notesapp.Note": 1})
    assert is_removed(copy)


@every_way
def test_a_child_by_inheritance_is_restored(restore):
    report = Report.objects.create(title="a", pages=1)
    copy = Copy.objects.create(note=report)
    went = report.delete()
    assert restore(report) == went
    assert not is_removed(report)
    assert not is_removed(copy)


def test_restoring_a_parents_row_brings_back_its_child_by_inheritance():
    report = Report.objects.create(title="a", pages=1)
    went = Note.objects.get().delete()
    assert Note.removed_objects.get().restore() == went
    assert not is_removed(report)


def test_a_removed_object_is_restored_through_a_proxy():
    given, copy, _ = tree()
    PinnedNote.objects.get().delete()
    assert PinnedNote.removed_objects.get().restore()[0] == 3
    assert not is_removed(given)
    assert not is_removed(copy)


def test_children_by_generic_relations_are_restored():
    given = note()
    content_type = ContentType.objects.get_for_model(Note)
    mine, before = (Tag.objects.create(name="t", content_type=content_type, object_id=given.pk) for _ in range(2))
    before.delete()
    went = given.delete()
    assert given.restore() == went
    assert not is_removed(mine)
    assert is_removed(before)


def test_a_restore_leaves_children_that_do_not_cascade_and_were_removed_before():
    given = note()
    signature = Signature.objects.create(note=given)
    signature.delete()
    given.delete()
    assert given.restore()[0] == 1
    assert is_removed(signature)


@every_way
def test_a_restore_reconnects_what_was_detached(restore):
    given, other = note(), note()
    mine, theirs = Reminder.objects.create(note=given), Reminder.objects.create(note=other)
    Note.objects.all().delete()
    assert fresh(mine).note is None
    restore(given)
    assert fresh(mine).note == given
    assert fresh(theirs).note is None
    restore(other)
    assert fresh(theirs).note == other
    assert not Detachment.objects.exists()


def test_a_restore_leaves_what_was_attached_elsewhere_since():
    given, other = note(), note()
    reminder = Reminder.objects.create(note=given)
    given.delete()
    Reminder.objects.update(note=other)
    given.restore()
    assert fresh(reminder).note == other


def test_a_restore_does_not_miss_what_was_deleted_since():
    given = note()
    reminder = Reminder.objects.create(note=given)
    given.delete()
    reminder.delete()
    assert given.restore() == (1, {"notesapp.Note": 1})


def test_a_restore_undoes_set_default():
    Note.objects.create(pk=1, title="the default")
    given = note(pk=2)
    bookmark, moved = Bookmark.objects.create(note=given), Bookmark.objects.create(note=given)
    given.delete()
    Bookmark.objects.filter(pk=moved.pk).update(note=note(pk=3))
    given.restore()
    assert fresh(bookmark).note_id == 2
    assert fresh(moved).note_id == 3


def test_many_objects_are_detached_and_reconnected_in_few_statements():
    notes = Note.objects.bulk_create([Note(title=str(number)) for number in range(700)])
    Reminder.objects.bulk_create([Reminder(note=one) for one in notes for _ in range(2)])
    Note.objects.all().delete()
    assert not Reminder.objects.exclude(note=None).exists()
    with CaptureQueriesContext(connection) as queries:
        Note.removed_objects.all().restore()
    assert len(queries) < 50
    assert set(Reminder.objects.values_list("note", flat=True)) == {one.pk for one in notes}
    assert Reminder.objects.filter(note=notes[0]).count() == 2


def test_a_restore_with_a_unique_conflict_restores_nothing_and_says_so():
    notebook = Notebook.objects.create(title="n")
    notebook.delete()
    held = Address.objects.create(slug="a")
    held.delete()
    free = Address.objects.create(slug="b")
    free.delete()
    live = Address.objects.create(slug="a")
    with transaction.atomic():
        with pytest.raises(RestoreConflict, match=r"notesapp.Address .*cannot be restored") as raised:
            Address.removed_objects.order_by("-slug").restore()
        assert is_removed(free)
        assert is_removed(held)
        live.delete()
        assert held.restore()[0] == 1
    assert isinstance(raised.value, IntegrityError)
    assert not is_removed(held)


def test_an_object_that_went_with_another_parent_is_restored_with_that_one():
    notebook = Notebook.objects.create(title="n")
    given = note(notebook=notebook)
    clause = Clause.objects.create(notebook=notebook, note=given)
    notebook.delete()
    assert given.restore() == (1, {"notesapp.Note": 1})
    assert is_removed(clause)
    assert notebook.restore() == (2, {"notesapp.Notebook": 1, "notesapp.Clause": 1})


def test_objects_that_point_to_each_other_are_restored():
    first = Copy.objects.create(note=note())
    second = Copy.objects.create(note=note(), original=first)
    Copy.objects.filter(pk=first.pk).update(original=second)
    assert first.delete() == (2, {"notesapp.Copy": 2})
    assert second.restore() == (2, {"notesapp.Copy": 2})


def test_a_stale_instance_does_not_restore_what_came_back_and_was_removed_again():
    given = note()
    given.delete()
    given.restore()
    fresh(given).delete()
    given.title = "mine"
    with pytest.raises(ObjectGone):
        given.save()
    assert is_removed(given)
