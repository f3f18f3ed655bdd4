"""Managers, querysets, signals and forms of soft-deletable models."""

import warnings
from types import new_class
from typing import Any, Generic, TypeVar

import pytest
from django.db import connection, transaction
from django.db.models import Manager, Model, QuerySet
from django.db.models.signals import post_delete, pre_delete
from django.forms import modelform_factory
from django.test.utils import CaptureQueriesContext
from model_utils.managers import InheritanceManager, InheritanceQuerySet, SoftDeletableQuerySet
from model_utils.models import SoftDeletableModel

from django_task_safety.managers import LockableQuerySet, SoftDeleteManager, SoftDeleteQuerySet
from django_task_safety.soft_delete.detachment import Detachment
from tests.notesapp.models import Attachment, Copy, Note, Notebook, Page, Reminder, Topic
from tests.notesapp.ways import fresh, is_removed, note

pytestmark = pytest.mark.django_db


def test_each_manager_has_its_rows():
    live, gone = note(title="live"), note(title="gone")
    gone.delete()
    for manager in (Note.objects, Note.available_objects, Note._default_manager):
        assert list(manager.all()) == [live]
        assert isinstance(manager, SoftDeleteManager)
    assert set(Note.all_objects.all()) == {live, gone}
    assert list(Note.removed_objects.all()) == [gone]
    assert set(Note._base_manager.all()) == {live, gone}
    assert issubclass(Note, SoftDeletableModel)


def test_the_managers_are_used_without_warnings():
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


def test_djangos_signals_are_sent(heard):
    given = note()
    copy = Copy.objects.create(note=given)
    Attachment.objects.create(note=given)
    given.delete()
    assert {one[:3] for one in heard} == {
        ("pre", given, False), ("pre", copy, False), ("post", given, True), ("post", copy, True)
    }  # fmt: skip
    assert [one[0] for one in heard] == ["pre", "pre", "post", "post"]
    assert all(one[3] is given for one in heard)


def test_the_origin_of_a_queryset_is_the_queryset(heard):
    note()
    queryset = Note.objects.all()
    queryset.delete()
    assert [one[3] for one in heard] == [queryset, queryset]


def test_a_receiver_that_raises_leaves_everything_as_it_was(heard):
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


def test_a_rolled_back_delete_removes_nothing():
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
def test_what_django_does_not_delete_is_not_removed(queryset):
    given = note()
    for method in ("delete", "restore"):
        with pytest.raises(TypeError):
            getattr(queryset(), method)()
    assert not is_removed(given)


def test_an_ordered_and_joined_queryset_is_removed():
    notebook = Notebook.objects.create(title="n")
    given, other = note(notebook=notebook), note()
    queryset = Note.objects.filter(notebook__title="n").select_related("notebook").order_by("notebook__title")
    assert queryset.delete() == (1, {"notesapp.Note": 1})
    assert is_removed(given)
    assert not is_removed(other)


def test_a_queryset_forgets_what_it_had():
    note()
    queryset = Note.objects.all()
    assert len(queryset) == 1
    queryset.delete()
    assert len(queryset) == 0


def test_templates_cannot_call_what_alters_data():
    for method in (Note.delete, Note.save, Note.restore, Note.hard_delete):
        assert method.alters_data
    for method in ("delete", "restore", "hard_delete"):
        assert getattr(Note.objects.all(), method).alters_data
    assert Note.objects.restore.alters_data


def statements(notes: int) -> int:
    parents = Note.objects.bulk_create([Note(title=str(number)) for number in range(notes)])
    copies = Copy.objects.bulk_create([Copy(note=parent) for parent in parents for _ in range(2)])
    Page.objects.bulk_create([Page(copy=copy) for copy in copies])
    Reminder.objects.bulk_create([Reminder(note=parent) for parent in parents])
    with CaptureQueriesContext(connection) as queries:
        count, _ = Note.objects.all().delete()
    assert count == 5 * notes
    return len(queries)


def test_the_number_of_statements_depends_on_the_models_and_not_on_the_rows():
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


def test_related_managers_and_prefetches_leave_removed_ones_out():
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


def test_a_form_does_not_offer_removed_ones():
    live, gone = note(title="live"), note(title="gone")
    gone.delete()
    form = modelform_factory(Copy, fields=["note", "number"])
    assert list(form().fields["note"].queryset) == [live]
    assert not form({"note": gone.pk, "number": 1}).is_valid()
    assert form({"note": live.pk, "number": 1}).is_valid()


def test_managers_have_no_delete_as_in_django():
    given = note()
    for manager in (
        Note.objects,
        Note.all_objects,
        Note.removed_objects,
        given.copies,
        Topic.objects.create(name="t").notes,
    ):
        for method in ("delete", "hard_delete", "ahard_delete"):
            assert not hasattr(manager, method)
    assert Note.all_objects.all().delete() == (1, {"notesapp.Note": 1})
    assert is_removed(given)


T = TypeVar("T", bound=Model)


class TypedQuerySet(QuerySet[T], Generic[T]):
    """As projects with type hints write theirs."""


class TypedManager(Manager[T], Generic[T]):
    """Likewise."""


@pytest.mark.parametrize("queryset", [LockableQuerySet, SoftDeleteQuerySet])
@pytest.mark.parametrize("other", [TypedQuerySet, InheritanceQuerySet, SoftDeletableQuerySet])
def test_querysets_combine_with_generic_ones(queryset, other):
    for bases in ((queryset, other), (other, queryset), (queryset[Note], other[Note]), (queryset[Note],)):
        combined = new_class("Combined", bases)
        assert issubclass(combined, queryset)
        assert list(combined(Note)) == []
    generic = new_class("OfAny", (queryset[T], Generic[T]))
    assert list(generic[Note](Note)) == []


@pytest.mark.parametrize("other", [TypedManager, InheritanceManager])
def test_managers_combine_with_generic_ones(other):
    for bases in ((SoftDeleteManager, other), (SoftDeleteManager[Note], other[Note]), (SoftDeleteManager[Note],)):
        assert issubclass(new_class("Combined", bases), SoftDeleteManager)
    generic: Any = new_class("OfAny", (SoftDeleteManager[T], Generic[T]))
    assert issubclass(generic[Note].from_queryset(new_class("Both", (SoftDeleteQuerySet, TypedQuerySet))), generic)


def test_a_manager_from_a_combined_queryset_keeps_its_rows():
    manager: Any = SoftDeleteManager.from_queryset(new_class("Both", (SoftDeleteQuerySet[Note], TypedQuerySet[Note])))()
    manager.model = Note
    live, gone = note(), note()
    gone.delete()
    assert list(manager.all()) == [live]


@pytest.mark.parametrize("verb", ["delete", "hard_delete"])
def test_what_loads_too_little_to_join_is_deleted_as_djangos_delete_does_it(verb):
    copy = Copy.objects.create(note=note())
    assert getattr(Copy.objects.only("number").select_related("note"), verb)()[0] == 1
    assert not Copy.objects.filter(pk=copy.pk).exists()
