"""After a rollback, save() knows that what it wrote is not there."""

import contextlib
import copy
import pickle
from collections.abc import Iterator

import pytest
from django.db import transaction
from django.db.models import F

from tests.notesapp.models import Draft, LongDraft, Note

pytestmark = pytest.mark.django_db(transaction=True)


class Refused(Exception):
    """Whatever comes after the save."""


@contextlib.contextmanager
def rolled_back() -> Iterator[None]:
    with contextlib.suppress(Refused), transaction.atomic():
        yield
        raise Refused


def stored(obj: Draft) -> tuple[str, str]:
    return Draft.objects.values_list("title", "text").get(pk=obj.pk)


def draft() -> Draft:
    return Draft.objects.create(title="a", text="b")


@pytest.mark.parametrize("outer", [contextlib.nullcontext, transaction.atomic], ids=["transaction", "savepoint"])
def test_a_change_whose_save_was_rolled_back_is_written_again(outer):
    given = draft()
    given.title = "mine"
    with outer():
        with rolled_back():
            given.save()
        given.save()
    assert stored(given) == ("mine", "b")


def test_a_change_whose_save_was_committed_is_left_to_others():
    given = draft()
    with transaction.atomic():
        given.title = "mine"
        with transaction.atomic():
            given.save()
    Draft.objects.update(title="theirs")
    given.text = "mine"
    given.save()
    assert stored(given) == ("theirs", "mine")


def test_a_change_that_was_saved_in_the_same_transaction_is_left_to_others():
    given = draft()
    with transaction.atomic():
        given.title = "mine"
        with transaction.atomic():
            given.save()
        Draft.objects.update(title="theirs")
        given.text = "mine"
        given.save()
    assert stored(given) == ("theirs", "mine")


def test_a_save_writes_only_those_changes_again_that_were_rolled_back():
    given = draft()
    with transaction.atomic():
        given.title = "mine"
        given.save()
        Draft.objects.update(title="theirs")
        with rolled_back():
            given.text = "1"
            given.save()
            given.text = "2"
            given.save()
        given.save()
    assert stored(given) == ("theirs", "2")


def test_a_value_that_is_set_back_after_a_rollback_is_left_to_others():
    given = draft()
    with rolled_back():
        given.title = "mine"
        given.save()
    Draft.objects.update(title="theirs")
    given.title, given.text = "a", "mine"
    given.save()
    assert stored(given) == ("theirs", "mine")


def test_a_save_in_a_released_savepoint_is_undone_with_its_transaction():
    given = draft()
    given.title = "mine"
    with rolled_back():
        with transaction.atomic():
            given.save()
        given.text = "mine"
        with transaction.atomic():
            given.save()
    given.save()
    assert stored(given) == ("mine", "mine")


@pytest.mark.parametrize("model", [Draft, LongDraft, Note])
def test_an_instance_whose_insert_was_rolled_back_is_inserted_again(model):
    given = model(title="a")
    with rolled_back():
        given.save()
        given.title = "b"
        given.save()
    given.save()
    assert model.objects.get().title == "b"
    given.title = "c"
    given.save()
    assert model.objects.get().title == "c"


def test_an_expression_whose_save_was_rolled_back_counts_once():
    given = draft()
    given.copies = F("copies") + 1
    with rolled_back():
        given.save()
    given.copies = F("copies") + 1
    given.save()
    given.refresh_from_db()
    assert given.copies == 1


def test_a_removal_that_was_rolled_back_with_a_save_removes_nothing_later():
    given = Note.objects.create(title="a")
    with rolled_back():
        given.title = "b"
        given.save()
        given.delete()
    given.save()
    assert Note.objects.get().title == "b"
    assert given.delete()[0] == 1


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda obj: pickle.loads(pickle.dumps(obj))], ids=["copy", "deepcopy", "pickle"]
)
def test_a_copy_of_an_instance_made_in_a_transaction_knows_what_was_committed(again):
    given = draft()
    with transaction.atomic():
        given.title = "mine"
        given.save()
        copied = again(given)
    Draft.objects.update(title="theirs")
    copied.text = "mine"
    copied.save()
    assert stored(given) == ("theirs", "mine")


def test_many_saves_of_one_instance_in_a_transaction_are_remembered_once():
    given = draft()
    with transaction.atomic():
        for number in range(50):
            given.title = str(number)
            given.save()
        assert len(transaction.get_connection().run_on_commit) == 1
    assert stored(given)[0] == "49"
