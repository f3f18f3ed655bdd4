"""Operations page by page, newest first: each once, in bounded statements, whatever is looked for."""

from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone

from django_task_safety.errors import InvalidArguments
from django_task_safety.ledger import newest
from django_task_safety.ledger.filters import Filters
from django_task_safety.ledger.keyset import Cursor
from django_task_safety.models import Operation
from django_task_safety.values.identity import Identity
from tests.notesapp.models import Note as SoftNote
from tests.support.delivering import statements
from tests.testapp.models import Note
from tests.testapp.tasks import charge, copy_note, record

pytestmark = pytest.mark.django_db

State = Operation.State


def ordered() -> list[Operation]:
    return list(Operation.objects.order_by("-created_at", "-pk"))


def all_pages(filters: Filters, size: int) -> list[Operation]:
    return [operation for page in filters.pages(Operation.objects.all(), size) for operation in page]


@pytest.fixture
def small_windows(monkeypatch):
    monkeypatch.setattr(newest, "WINDOW", 4)
    monkeypatch.setattr(newest, "WINDOWS", 2)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 20])
def test_pages_together_hold_each_operation_once_newest_first(size):
    record.enqueue_many([(str(number),) for number in range(7)])
    # Created at the same moment: their ids decide.
    Operation.objects.filter(pk__in=[one.pk for one in ordered()[2:5]]).update(created_at=timezone.now())
    assert all_pages(Filters(), size) == ordered()


@pytest.mark.parametrize("size", [1, 2, 3, 20])
def test_pages_of_what_no_index_finds_hold_each_once_newest_first(size, small_windows):
    for number in range(23):
        (charge if number % 5 == 0 else record).enqueue(number)
    rare = Filters(task=charge.name)
    assert all_pages(rare, size) == [one for one in ordered() if one.task == charge.name]
    assert len(all_pages(rare, size)) == 5


def test_a_page_looks_at_so_many_rows_only_and_says_that_there_may_be_more(small_windows):
    first = charge.enqueue(1)
    record.enqueue_many([(str(number),) for number in range(12)])
    with statements() as sent:
        page = Filters(task=charge.name).page(Operation.objects.all(), 5)
    assert len(sent) == 4  # for each of two windows, its end and what is in it
    assert page.operations == []
    assert page.cut_short
    rest = Filters(task=charge.name).page(Operation.objects.all(), 5, page.after)
    assert (rest.operations, rest.after, rest.cut_short) == ([first], None, False)


def test_a_page_without_an_unindexed_condition_is_one_statement():
    record.enqueue_many([(str(number),) for number in range(5)])
    with statements() as sent:
        page = Filters().page(Operation.objects.all(), 3)
    assert len(sent) == 1
    assert page.after == Cursor.of(page.operations[-1])


def test_each_filter_finds_its_own():
    note = Note.objects.create(title="a")
    about = copy_note.enqueue(note)
    late = record.enqueue("late")
    Operation.objects.filter(pk=late.pk).update(available_at=F("available_at") - timedelta(minutes=5), queue="slow")
    mine = record.options(requested_by=5).enqueue("mine")
    ended = record.enqueue("ended")
    ended.cancel()
    long_ago = record.enqueue("long ago")
    long_ago.cancel()
    Operation.objects.filter(pk=long_ago.pk).update(ended_at=timezone.now() - timedelta(days=2))
    label = Note._meta.label_lower

    def found(**filters):
        return set(all_pages(Filters(**filters), 2))

    assert found(task=copy_note.name) == found(model=label) == {about}
    assert found(object=Identity.named(label, str(note.pk))) == {about}
    assert found(queue="slow") == found(stuck=True) == {late}
    assert found(requested_by="5") == {mine}
    assert found(states=("cancelled",)) == {ended, long_ago}
    assert found(states=("cancelled", "queued")) == set(ordered())
    assert found(states=("cancelled",), ended_within=timedelta(hours=1)) == {ended}
    assert found(states=("succeeded",)) == set()
    assert found(object=Identity.named(label, str(note.pk)), states=("queued",), task=record.name) == set()


def test_an_object_is_named_by_any_of_its_models_labels():
    assert Identity.named("notesapp.PinnedNote", "5") == Identity.named("notesapp.note", "5")
    assert Identity.named("notesapp.note", "5").label == SoftNote._meta.label_lower


@pytest.mark.parametrize("label", ["nothing", "no.such", "", "a.b.c", "testapp.nothing"])
def test_what_is_no_model_names_no_object(label):
    with pytest.raises(LookupError):
        Identity.named(label, "1")


@pytest.mark.parametrize("key", ["", "x", "1.5", "9" * 40])
def test_what_is_no_key_names_no_object(key):
    with pytest.raises(InvalidArguments):
        Identity.named("testapp.note", key)
