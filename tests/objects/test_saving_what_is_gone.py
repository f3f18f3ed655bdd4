"""save() brings nothing back that is gone."""

import copy
import pickle
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core import serializers
from django.db import transaction
from django.db.models.signals import pre_save

from django_task_safety import ObjectGone
from tests.notesapp.drafts import draft, vanish, write
from tests.notesapp.models import Draft, LongDraft, Note
from tests.notesapp.ways import fresh
from tests.support.ids import label

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("options", [{}, {"update_fields": ["title"]}, {"force_update": True}], ids=label)
@pytest.mark.parametrize("change", [True, False])
def test_a_stale_save_does_not_bring_back_a_deleted_row(options, change):
    mine = fresh(draft())
    vanish(mine)
    if change:
        mine.title = "mine"
    with pytest.raises(ObjectGone, match=rf"notesapp.Draft {mine.pk}.*refresh_from_db.*resurrect=True"):
        mine.save(**options)
    assert not Draft.objects.exists()


def test_a_stale_save_does_not_bring_back_a_row_that_the_instance_created():
    mine = draft()
    vanish(mine)
    mine.title = "mine"
    with pytest.raises(ObjectGone):
        mine.save()
    assert not Draft.objects.exists()


def test_a_stale_save_does_not_bring_back_a_row_that_was_created_in_bulk():
    (mine,) = Draft.objects.bulk_create([Draft(pk=7, title="a")])
    vanish(mine)
    with pytest.raises(ObjectGone):
        mine.save()
    assert not Draft.objects.exists()


def test_the_outer_transaction_can_go_on_after_a_save_was_refused():
    mine = fresh(draft())
    vanish(mine)
    with transaction.atomic():
        before = draft(title="before")
        with pytest.raises(ObjectGone):
            mine.save()
        after = draft(title="after")
    assert fresh(before).title == "before"
    assert fresh(after).title == "after"


def test_a_transaction_that_was_broken_before_a_refused_save_stays_broken():
    mine = fresh(draft())
    vanish(mine)

    def refused() -> None:
        with transaction.atomic():
            transaction.set_rollback(True)
            with pytest.raises(transaction.TransactionManagementError):
                mine.save()
            assert transaction.get_rollback()

    refused()
    assert not Draft.objects.exists()


def test_save_with_resurrect_inserts_a_deleted_row_again():
    mine = fresh(draft(text="old"))
    vanish(mine)
    mine.save(resurrect=True)
    assert fresh(mine).text == "old"


def test_save_with_resurrect_writes_every_column():
    mine = fresh(draft(text="old"))
    write(mine, text="theirs")
    mine.save(resurrect=True)
    assert fresh(mine).text == "old"


def test_a_save_of_a_copy_without_a_primary_key_inserts_a_row():
    mine = fresh(draft(text="old"))
    first = mine.pk
    mine.pk = None
    mine.save()
    assert mine.pk != first
    assert fresh(mine).text == "old"
    mine.pk, mine._state.adding = None, True
    mine.save()
    assert Draft.objects.filter(text="old").count() == 3


def test_a_save_under_another_primary_key_inserts_a_row():
    mine = fresh(draft(text="old"))
    mine.pk += 100
    mine.save()
    assert Draft.objects.filter(text="old").count() == 2


def test_a_primary_key_given_as_another_type_is_the_same_key_to_save():
    mine = fresh(draft())
    mine.pk = str(mine.pk)
    vanish(mine)
    with pytest.raises(ObjectGone):
        mine.save()


def test_a_save_of_a_new_instance_with_a_primary_key_inserts_a_row():
    Draft(pk=77, title="a").save()
    assert Draft.objects.get().pk == 77


def test_a_save_with_force_insert_inserts_a_deleted_row():
    mine = fresh(draft())
    vanish(mine)
    mine.save(force_insert=True)
    assert Draft.objects.count() == 1


def test_loaddata_inserts_a_deleted_row():
    mine = draft()
    dumped = serializers.serialize("json", [mine])
    vanish(mine)
    for loaded in serializers.deserialize("json", dumped):
        loaded.save()
    assert fresh(mine).title == "a"


def test_asave_does_not_bring_back_a_deleted_row_either():
    mine = fresh(draft())
    vanish(mine)
    with pytest.raises(ObjectGone):
        async_to_sync(mine.asave)()
    async_to_sync(mine.asave)(resurrect=True)
    assert Draft.objects.count() == 1


@pytest.mark.parametrize("load", [lambda found: found.only("title"), lambda found: found.defer("text")])
def test_a_save_of_a_deferred_instance_writes_what_changed(load):
    given = draft(text="old", copies=1)
    mine = load(Draft.objects).get()
    write(given, text="theirs", copies=5)
    mine.title = "mine"
    mine.save()
    assert (fresh(given).title, fresh(given).text, fresh(given).copies) == ("mine", "theirs", 5)
    vanish(given)
    with pytest.raises(ObjectGone):
        mine.save()


# A pickle may outlive the transaction in which the instance was loaded.
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda obj: pickle.loads(pickle.dumps(obj))])
def test_a_stale_save_of_a_copied_or_pickled_instance_brings_nothing_back(again):
    mine = fresh(draft(text="old", data={"list": [1]}, blob=b"1"))
    other = again(mine)
    write(mine, text="theirs")
    other.title = "mine"
    other.save()
    assert (fresh(mine).title, fresh(mine).text) == ("mine", "theirs")
    vanish(mine)
    with pytest.raises(ObjectGone):
        other.save()


@pytest.mark.parametrize("change", ["title", "pages", None])
def test_a_stale_save_of_a_deleted_child_writes_nothing_to_its_parent(change):
    mine = fresh(LongDraft.objects.create(title="a", pages=1))
    LongDraft.objects.filter(pk=mine.pk).get().delete(keep_parents=True)
    if change:
        setattr(mine, change, 5)
    with transaction.atomic():
        with pytest.raises(ObjectGone):
            mine.save()
        assert Draft.objects.count() == 1
    with pytest.raises(ObjectGone):
        mine.save()
    assert Draft.objects.get().title == "a"
    assert not LongDraft.objects.exists()


def test_a_stale_save_of_a_child_whose_parent_is_deleted_is_refused():
    mine = fresh(LongDraft.objects.create(title="a", pages=1))
    vanish(mine)
    mine.pages = 5
    with pytest.raises(ObjectGone):
        mine.save()
    assert not Draft.objects.exists()
    assert not LongDraft.objects.exists()


def test_a_child_row_is_added_to_an_existing_parent_as_in_django():
    parent = fresh(draft(text="old"))
    child = LongDraft(draft_ptr=parent, pages=3)
    child.__dict__.update(parent.__dict__)
    child.save()
    assert (fresh(child).text, fresh(child).pages) == ("old", 3)


def test_a_save_to_another_database_inserts_the_row_there():
    mine = fresh(draft())
    vanish(mine)
    mine._state.db = "another"
    mine.save(using="default")
    assert fresh(mine).title == "a"


def test_a_transaction_that_a_receiver_broke_during_a_save_stays_broken():
    gone = fresh(Note.objects.create(title="a"))
    fresh(gone).hard_delete()

    def write_and_refuse(**kwargs: Any) -> None:
        with transaction.atomic(savepoint=False):
            Draft.objects.bulk_create([Draft(title="half")])
            gone.save()

    pre_save.connect(write_and_refuse, sender=Draft)
    try:
        with transaction.atomic():
            with pytest.raises(ObjectGone):
                Draft(title="b").save()
            assert transaction.get_rollback()
    finally:
        pre_save.disconnect(write_and_refuse, sender=Draft)
    assert not Draft.objects.exists()


@pytest.mark.django_db
def test_an_instance_with_deferred_fields_and_no_changes_notices_that_its_row_is_gone():
    note = Note.objects.create(title="a")
    partial = Note.objects.only("title").get(pk=note.pk)
    partial.save()
    note.hard_delete()
    with pytest.raises(ObjectGone):
        partial.save()
