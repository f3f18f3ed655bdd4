"""Managers, querysets, signals and forms of soft-deletable models."""

import warnings
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models.signals import post_delete, pre_delete
from django.forms import modelform_factory
from django.test.utils import CaptureQueriesContext
from model_utils.models import SoftDeletableModel

from django_task_safety.managers import SoftDeleteManager
from django_task_safety.soft_delete.detachment import Detachment
from tests.notesapp.models import Attachment, Copy, Note, Notebook, Page, Reminder, Topic
from tests.notesapp.ways import fresh, is_removed, note

pytestmark = pytest.mark.django_db


def test_each_soft_delete_manager_has_its_rows():
    live, gone = note(title="live"), note(title="gone")
    gone.delete()
    for manager in (Note.objects, Note.available_objects, Note._default_manager):
        assert list(manager.all()) == [live]
        assert isinstance(manager, SoftDeleteManager)
    assert set(Note.all_objects.all()) == {live, gone}
    assert list(Note.removed_objects.all()) == [gone]
    assert set(Note._base_manager.all()) == {live, gone}
    assert issubclass(Note, SoftDeletableModel)


def test_the_soft_delete_managers_are_used_without_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(Note.objects.all()) == []


@pytest.fixture
def heard():
    """Signals as they came: name, object, whether it was removed, origin."""
    found: list[tuple[str, Any, bool, Any]] = []

    def before(instance: Any, origin: Any, **kwargs: Any) -> None:
        found.append(("pre", instance, fresh(instance).is_removed, origin))

    def after(instance: Any, origin: Any, **kwargs: Any) -> None:
        found.append(("post", instance, fresh(instance).is_removed, origin))

    models = [Note, Copy, Attachment]
    for model in models:
        pre_delete.connect(before, sender=model)
        post_delete.connect(after, sender=model)
    yield found
    for model in models:
        pre_delete.disconnect(before, sender=model)
        post_delete.disconnect(after, sender=model)


def test_a_soft_delete_sends_djangos_signals(heard):
    given = note()
    copy = Copy.objects.create(note=given)
    Attachment.objects.create(note=given)
    given.delete()
    assert {one[:3] for one in heard} == {
        ("pre", given, False), ("pre", copy, False), ("post", given, True), ("post", copy, True)
    }  # fmt: skip
    assert [one[0] for one in heard] == ["pre", "pre", "post", "post"]
    assert all(one[3] is given for one in heard)


def test_signals_of_a_soft_delete_by_a_queryset_name_it_as_their_origin(heard):
    note()
    queryset = Note.objects.all()
    queryset.delete()
    assert [one[3] for one in heard] == [queryset, queryset]


def test_a_receiver_that_raises_during_a_soft_delete_leaves_everything_as_it_was(heard):
    def refuse(**kwargs: Any) -> None:
        raise RuntimeError("no")

    given = note()
    copy = Copy.objects.create(note=given)
    reminder = Reminder.objects.create(note=given)
    post_delete.connect(refuse, sender=Note)
    try:
        with transaction.atomic():
            with pytest.raises(RuntimeError):
                given.delete()
            assert not is_removed(copy)
    finally:
        post_delete.disconnect(refuse, sender=Note)
    assert not is_removed(given)
    assert fresh(reminder).note == given
    assert not Detachment.objects.exists()


def test_a_soft_delete_that_is_rolled_back_removes_nothing():
    given = note()
    with transaction.atomic():
        given.delete()
        transaction.set_rollback(True)
    assert not is_removed(given)


@pytest.mark.parametrize(
    "queryset",
    [
        lambda: Note.objects.all()[:1],
        lambda: Note.objects.values("title"),
        lambda: Note.objects.values_list("title"),
        lambda: Note.objects.distinct("title"),
    ],
)
def test_querysets_that_django_does_not_delete_are_not_soft_deleted(queryset):
    given = note()
    for method in ("delete", "restore"):
        with pytest.raises(TypeError):
            getattr(queryset(), method)()
    assert not is_removed(given)


def test_an_ordered_and_joined_queryset_is_soft_deleted():
    notebook = Notebook.objects.create(title="n")
    given, other = note(notebook=notebook), note()
    queryset = Note.objects.filter(notebook__title="n").select_related("notebook").order_by("notebook__title")
    assert queryset.delete() == (1, {"notesapp.Note": 1})
    assert is_removed(given)
    assert not is_removed(other)


def test_a_queryset_forgets_its_cached_objects_after_a_soft_delete():
    note()
    queryset = Note.objects.all()
    assert len(queryset) == 1
    queryset.delete()
    assert len(queryset) == 0


def test_templates_cannot_call_soft_delete_methods_that_alter_data():
    for method in (Note.delete, Note.save, Note.restore, Note.hard_delete):
        assert method.alters_data
    for method in ("delete", "restore", "hard_delete"):
        assert getattr(Note.objects.all(), method).alters_data
    assert Note.objects.delete.alters_data


def statements(notes: int) -> int:
    parents = Note.objects.bulk_create([Note(title=str(number)) for number in range(notes)])
    copies = Copy.objects.bulk_create([Copy(note=parent) for parent in parents for _ in range(2)])
    Page.objects.bulk_create([Page(copy=copy) for copy in copies])
    Reminder.objects.bulk_create([Reminder(note=parent) for parent in parents])
    with CaptureQueriesContext(connection) as queries:
        count, _ = Note.objects.all().delete()
    assert count == 5 * notes
    return len(queries)


def test_the_statements_of_a_soft_delete_depend_on_the_models_and_not_on_the_rows():
    few = statements(1)
    many = statements(1000)
    chunks = 5
    assert many <= few * chunks
    assert few <= 40


def test_a_removed_object_is_still_reached_by_a_foreign_key():
    copy = Copy.objects.create(note=note())
    Note.all_objects.filter(pk=copy.note_id).update(is_removed=True)
    assert fresh(copy).note.title == "a"
    assert Copy.objects.select_related("note").get().note.is_removed


def test_related_managers_and_prefetches_leave_removed_objects_out():
    given = note()
    live, gone = Copy.objects.create(note=given, number=1), Copy.objects.create(note=given, number=2)
    gone.delete()
    assert list(given.copies.all()) == [live]
    assert list(Note.objects.prefetch_related("copies").get().copies.all()) == [live]
    topic = Topic.objects.create(name="t")
    given.topics.add(topic)
    given.delete()
    assert list(topic.notes.all()) == []
    assert list(Topic.objects.prefetch_related("notes").get().notes.all()) == []


def test_a_form_does_not_offer_removed_objects():
    live, gone = note(title="live"), note(title="gone")
    gone.delete()
    form = modelform_factory(Copy, fields=["note", "number"])
    assert list(form().fields["note"].queryset) == [live]
    assert not form({"note": gone.pk, "number": 1}).is_valid()
    assert form({"note": live.pk, "number": 1}).is_valid()


def test_delete_of_a_soft_delete_manager_is_soft_as_well():
    given = note()
    Note.all_objects.delete()
    assert is_removed(given)
