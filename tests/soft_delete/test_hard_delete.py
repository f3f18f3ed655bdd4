"""hard_delete() is Django's own delete."""

import pytest
from asgiref.sync import async_to_sync
from django.contrib.contenttypes.models import ContentType
from django.db.models import ProtectedError

from tests.notesapp.models import Attachment, Copy, Note, Signature, Tag
from tests.notesapp.ways import is_removed, note

pytestmark = pytest.mark.django_db


def test_delete_takes_the_soft_argument_of_model_utils():
    first, second = note(), note()
    first.delete(using="default", soft=True)
    assert is_removed(first)
    assert second.delete(soft=False)[0] == 1
    assert list(Note.all_objects.all()) == [first]


@pytest.mark.parametrize(
    "delete",
    [
        lambda obj: obj.hard_delete(),
        lambda obj: async_to_sync(obj.ahard_delete)(),
        lambda obj: Note.all_objects.filter(pk=obj.pk).hard_delete(),
        lambda obj: async_to_sync(Note.all_objects.filter(pk=obj.pk).ahard_delete)(),
    ],
)
@pytest.mark.parametrize("before", [True, False])
def test_a_hard_delete_takes_the_row_and_its_children_removed_or_not(delete, before):
    given = note()
    Copy.objects.create(note=given).delete()
    Copy.objects.create(note=given)
    Attachment.objects.create(note=given)
    if before:
        given.delete()
    assert delete(given) == (4, {"notesapp.Note": 1, "notesapp.Copy": 2, "notesapp.Attachment": 1})
    assert not Note.all_objects.exists()
    assert not Copy.all_objects.exists()


def test_a_hard_delete_follows_djangos_rules():
    given = note()
    Signature.objects.create(note=given).delete()
    with pytest.raises(ProtectedError):
        given.hard_delete()
    assert Note.objects.get() == given


def test_a_hard_delete_of_live_objects_leaves_the_removed_ones():
    gone = note()
    gone.delete()
    note()
    Note.objects.all().hard_delete()
    assert list(Note.all_objects.all()) == [gone]


def test_deleting_a_plain_parent_takes_its_soft_deletable_children_for_good():
    content_type = ContentType.objects.create(app_label="notesapp", model="other")
    one = Tag.objects.create(name="t", content_type=content_type, object_id=1)
    content_type.delete()
    assert not Tag.all_objects.filter(pk=one.pk).exists()
