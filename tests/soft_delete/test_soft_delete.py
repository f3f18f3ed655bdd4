"""delete() marks as removed what Django would delete, by the same rules and with the same answers."""

from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction
from django.db.models import Model, ProtectedError, RestrictedError
from django.test.utils import CaptureQueriesContext

from django_task_safety.soft_delete.collector import SoftCollector
from tests.notesapp.models import (
    Attachment,
    Bookmark,
    Clause,
    Copy,
    Note,
    Notebook,
    Page,
    PinnedNote,
    Receipt,
    Reminder,
    Report,
    Signature,
    Tag,
    Topic,
)
from tests.notesapp.ways import Way, every_way, fresh, is_removed, note

pytestmark = pytest.mark.django_db


@every_way
def test_a_soft_deleted_row_stays_and_is_marked(delete: Way):
    given = note()
    other = note()
    assert delete(given) == (1, {"notesapp.Note": 1})
    found = fresh(given)
    assert found.is_removed
    assert found.removed_at is not None
    assert found.removal is not None
    assert not is_removed(other)


def test_a_soft_deleted_instance_knows_that_it_was_removed():
    given = note()
    given.delete()
    found = fresh(given)
    assert (given.is_removed, given.removed_at, given.removal) == (True, found.removed_at, found.removal)
    assert given.pk is not None


@every_way
def test_what_is_removed_is_not_removed_again(delete: Way):
    given = note()
    given.delete()
    before = fresh(given)
    assert delete(given) == (0, {})
    assert (fresh(given).removed_at, fresh(given).removal) == (before.removed_at, before.removal)


@pytest.mark.parametrize("stale", [True, False])
def test_a_child_restored_alone_stays_when_its_removed_parent_is_deleted_again(stale: bool):
    parent = note()
    child = Copy.objects.create(note=parent)
    again = fresh(parent)
    parent.delete()
    fresh(child).restore()
    assert (again if stale else parent).delete() == (0, {})
    assert not is_removed(child)


def test_a_soft_delete_of_several_leaves_the_children_of_those_removed_before():
    removed, live = note(), note()
    theirs, mine = Copy.objects.create(note=removed), Copy.objects.create(note=live)
    stale = [fresh(removed), fresh(live)]
    removed.delete()
    fresh(theirs).restore()
    assert SoftCollector("default", origin=None).remove(stale) == (2, {"notesapp.Note": 1, "notesapp.Copy": 1})
    assert not is_removed(theirs)
    assert is_removed(mine)


def test_a_soft_delete_of_what_is_gone_for_good_removes_nothing():
    given = note()
    fresh(given).hard_delete()
    assert given.delete() == (0, {})


def test_an_unsaved_object_cannot_be_deleted():
    with pytest.raises(ValueError, match="never saved"):
        Note(title="a").delete()


@every_way
def test_a_soft_delete_takes_children_level_by_level(delete: Way):
    given = note()
    copies = [Copy.objects.create(note=given, number=number) for number in range(2)]
    pages = [Page.objects.create(copy=copy) for copy in copies]
    counts = {"notesapp.Note": 1, "notesapp.Copy": 2, "notesapp.Page": 2}
    assert delete(given) == (5, counts)
    assert len({fresh(obj).removal for obj in [given, *copies, *pages]}) == 1
    assert {fresh(obj).removed_at for obj in copies} == {fresh(given).removed_at}


@every_way
def test_a_child_that_was_removed_before_keeps_its_own_removal(delete: Way):
    given = note()
    copy = Copy.objects.create(note=given)
    page = Page.objects.create(copy=copy)
    copy.delete()
    before = fresh(copy)
    assert delete(given) == (1, {"notesapp.Note": 1})
    assert (fresh(copy).removal, fresh(copy).removed_at) == (before.removal, before.removed_at)
    assert fresh(page).removal == before.removal


@every_way
def test_a_soft_delete_leaves_children_that_cannot_be_removed_softly(delete: Way):
    given = note()
    attachment = Attachment.objects.create(note=given)
    given.topics.add(Topic.objects.create(name="t"))
    with CaptureQueriesContext(connection) as queries:
        assert delete(given) == (1, {"notesapp.Note": 1})
    assert not any("notesapp_attachment" in query["sql"] for query in queries)
    assert fresh(attachment).note == given
    assert fresh(given).topics.count() == 1


@every_way
def test_a_child_removed_by_a_nullable_cascade_keeps_its_foreign_key(delete: Way):
    notebook = Notebook.objects.create(title="n")
    given = note(notebook=notebook)
    assert delete(notebook) == (2, {"notesapp.Notebook": 1, "notesapp.Note": 1})
    assert fresh(given).notebook == notebook


@every_way
def test_a_soft_delete_clears_a_foreign_key_with_set_null(delete: Way):
    given = note()
    reminder, other = Reminder.objects.create(note=given), Reminder.objects.create(note=note())
    assert delete(given) == (1, {"notesapp.Note": 1})
    assert fresh(reminder).note is None
    assert fresh(other).note is not None


@every_way
def test_a_soft_delete_sets_a_foreign_key_with_set_default(delete: Way):
    Note.objects.create(pk=1, title="the default")
    given = note(pk=2)
    bookmark = Bookmark.objects.create(note=given)
    delete(given)
    assert fresh(bookmark).note_id == 1
    assert not is_removed(bookmark)


@every_way
@pytest.mark.parametrize("child", [Signature, Receipt])
def test_a_child_with_protect_refuses_a_soft_delete(delete: Way, child: Any):
    given = note()
    copy = Copy.objects.create(note=given)
    protecting = child.objects.create(note=given)
    with transaction.atomic():
        with pytest.raises(ProtectedError) as raised:
            delete(given)
        assert not is_removed(given)
    assert raised.value.protected_objects == {protecting}
    assert not is_removed(copy)


@every_way
def test_a_removed_child_with_protect_does_not_refuse_a_soft_delete(delete: Way):
    given = note()
    Signature.objects.create(note=given).delete()
    assert delete(given) == (1, {"notesapp.Note": 1})


@every_way
def test_a_child_with_restrict_refuses_a_soft_delete_unless_it_goes_too(delete: Way):
    notebook = Notebook.objects.create(title="n")
    given = note(notebook=notebook)
    clause = Clause.objects.create(notebook=notebook, note=given)
    with pytest.raises(RestrictedError):
        delete(given)
    assert not is_removed(given)
    counts = {"notesapp.Notebook": 1, "notesapp.Note": 1, "notesapp.Clause": 1}
    assert delete(notebook) == (3, counts)
    assert is_removed(clause)


def tag(obj: Model, **values: Any) -> Tag:
    # A proxy's tags are its model's.
    content_type = ContentType.objects.get_for_model(obj)
    return Tag.objects.create(name="t", content_type=content_type, object_id=obj.pk, **values)


@every_way
def test_a_soft_delete_takes_children_by_generic_relations(delete: Way):
    given, other = note(), note()
    mine, theirs = tag(given), tag(other)
    assert delete(given) == (2, {"notesapp.Note": 1, "notesapp.Tag": 1})
    assert is_removed(mine)
    assert not is_removed(theirs)


@every_way
def test_a_soft_delete_of_a_parents_row_takes_its_child_by_inheritance(delete: Way):
    report = Report.objects.create(title="a", pages=1)
    copy = Copy.objects.create(note=report)
    counts = {"notesapp.Report": 1, "notesapp.Note": 1, "notesapp.Copy": 1}
    assert delete(report) == (3, counts)
    assert is_removed(copy)
    assert not Note.objects.exists()
    assert not Report.objects.exists()


@every_way
def test_a_soft_delete_of_a_child_by_inheritance_takes_its_parents_row(delete: Way):
    report = Report.objects.create(title="a", pages=1)
    assert delete(Note.objects.get()) == (2, {"notesapp.Report": 1, "notesapp.Note": 1})
    assert is_removed(report)


@every_way
def test_a_soft_delete_through_a_proxy_removes_the_object(delete: Way):
    given = note()
    copy = Copy.objects.create(note=given)
    proxy = PinnedNote.objects.get()
    assert delete(proxy) == (2, {"notesapp.PinnedNote": 1, "notesapp.Copy": 1})
    assert is_removed(given)
    assert is_removed(copy)
