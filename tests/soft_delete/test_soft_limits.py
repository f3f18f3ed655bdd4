"""What the how-to says of receivers, joins and generic relations."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db.models import Count, Q
from django.db.models.signals import post_delete, pre_delete

from django_task_safety import ObjectGone
from tests.notesapp.models import Copy, Note, Tag
from tests.notesapp.ways import note

pytestmark = pytest.mark.django_db


@pytest.fixture
def heard() -> Iterator[list[tuple[Any, bool]]]:
    """Whose delete receivers heard of, and whether it was a soft one."""
    found: list[tuple[Any, bool]] = []

    def hear(sender: Any, soft: bool = False, **kwargs: Any) -> None:
        found.append((sender, soft))

    signals = [pre_delete, post_delete]
    for signal in signals:
        signal.connect(hear)
    yield found
    for signal in signals:
        signal.disconnect(hear)


def test_receivers_tell_a_soft_delete_from_one_for_good(heard):
    given = note()
    Copy.objects.create(note=given)
    given.delete()
    assert set(heard) == {(Note, True), (Copy, True)}
    heard.clear()
    given.hard_delete()
    assert set(heard) == {(Note, False), (Copy, False)}


def test_receivers_hear_of_a_mark_set_by_hand_as_of_a_soft_delete(heard):
    given = note()
    given.is_removed = True
    given.save()
    assert heard == [(Note, True), (Note, True)]


def test_a_join_counts_removed_rows_unless_it_is_told_not_to():
    given = note()
    Copy.objects.create(note=given)
    Copy.objects.create(note=given).delete()
    live = Count("copies", filter=Q(copies__is_removed=False))
    assert Note.objects.annotate(every=Count("copies"), live=live).values_list("every", "live").get() == (2, 1)


def test_setting_a_generic_relation_needs_no_clear():
    given = note()
    kept, dropped = Tag.objects.create(tagged=given, name="a"), Tag.objects.create(tagged=given, name="b")
    given.tags.set([kept], bulk=False)
    assert list(given.tags.all()) == [kept]
    assert list(Tag.removed_objects.all()) == [dropped]
    with pytest.raises(ObjectGone):
        given.tags.set([kept], bulk=False, clear=True)
