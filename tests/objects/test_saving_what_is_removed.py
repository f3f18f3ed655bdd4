"""save() brings nothing back that was soft-deleted, unless it is told to."""

import pytest
from django.db import transaction

from django_task_safety import ObjectGone
from tests.notesapp.models import Note, Report
from tests.notesapp.ways import fresh
from tests.support.ids import label

pytestmark = pytest.mark.django_db


def removed(note: Note) -> None:
    """Remove the row as another process does."""
    type(note).all_objects.get(pk=note.pk).delete()


@pytest.mark.parametrize("options", [{}, {"update_fields": ["text"]}], ids=label)
@pytest.mark.parametrize("change", ["title", None])
def test_a_stale_save_of_a_soft_deleted_row_is_refused(options, change):
    note = fresh(Note.objects.create(title="a"))
    removed(note)
    if change:
        setattr(note, change, "mine")
    with transaction.atomic():
        with pytest.raises(ObjectGone, match="soft-deleted"):
            note.save(**options)
        assert fresh(note).is_removed
    assert fresh(note).title == "a"


def test_a_stale_save_of_a_deferred_instance_of_a_soft_deleted_row_is_refused():
    note = Note.objects.create(title="a")
    mine = Note.objects.only("title").get()
    removed(note)
    mine.title = "mine"
    with pytest.raises(ObjectGone):
        mine.save()


@pytest.mark.parametrize("change", ["pages", "title", None])
@pytest.mark.parametrize("explicit", [True, False])
def test_a_stale_save_of_a_child_whose_parent_was_soft_deleted_is_refused(change, explicit):
    report = fresh(Report.objects.create(title="a", pages=1))
    removed(report)
    if change:
        setattr(report, change, "5")
    with pytest.raises(ObjectGone):
        report.save(**({"update_fields": [change or "pages"]} if explicit else {}))
    assert (fresh(report).title, fresh(report).pages, fresh(report).is_removed) == ("a", 1, True)


def test_other_columns_of_a_removed_row_can_be_saved():
    note = Note.objects.create(title="a")
    note.delete()
    for one in (note, Note.removed_objects.get()):
        one.title += "b"
        one.save()
    assert (fresh(note).title, fresh(note).is_removed) == ("ab", True)


@pytest.mark.parametrize("options", [{}, {"update_fields": ["is_removed"]}], ids=label)
def test_saving_is_removed_as_false_brings_a_row_back(options):
    note = Note.objects.create(title="a")
    note.delete()
    assert fresh(note).removed_at is not None
    for one in (note, fresh(note)):
        removed(one)
        one.refresh_from_db()
        one.is_removed = False
        one.save(**options)
        assert (fresh(note).is_removed, fresh(note).removed_at, fresh(note).removal) == (False, None, None)


@pytest.mark.parametrize("stale", [True, False])
@pytest.mark.parametrize("options", [{}, {"update_fields": ["title"]}], ids=label)
def test_save_with_resurrect_brings_a_removed_row_back(stale, options):
    note = Note.objects.create(title="a")
    mine = fresh(note)
    removed(note)
    if not stale:
        mine.refresh_from_db()
    mine.title = "mine"
    mine.save(resurrect=True, **options)
    assert (fresh(note).is_removed, fresh(note).removed_at, fresh(note).removal) == (False, None, None)
    assert fresh(note).title == "mine"


@pytest.mark.parametrize("load", [lambda found: found.only("title"), lambda found: found.defer("is_removed", "text")])
def test_a_deferred_instance_of_a_removed_row_can_be_saved(load):
    note = Note.objects.create(title="a")
    note.delete()
    mine = load(Note.all_objects).get()
    mine.title = "mine"
    mine.save()
    assert (fresh(note).title, fresh(note).is_removed) == ("mine", True)
