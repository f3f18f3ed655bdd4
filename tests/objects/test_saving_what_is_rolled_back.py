"""What a transaction wrote is known when it has committed: until then, and after a rollback, save() writes it again."""

import contextlib
import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import DatabaseError, transaction
from django.db.models import F
from django.db.models.signals import post_save

from django_task_safety import ObjectGone
from tests.notesapp.models import Draft, LongDraft, Note

pytestmark = pytest.mark.django_db(transaction=True)
#: Django 6.1 gives it another name.
savepoint_create = getattr(transaction, "savepoint_create", None) or transaction.savepoint


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
def test_what_was_rolled_back_is_written_again(outer):
    given = draft()
    given.title = "mine"
    with outer():
        with rolled_back():
            given.save()
        given.save()
    assert stored(given) == ("mine", "b")


def test_what_was_committed_is_left_to_others():
    given = draft()
    with transaction.atomic():
        given.title = "mine"
        with transaction.atomic():
            given.save()
    Draft.objects.update(title="theirs")
    given.text = "mine"
    given.save()
    assert stored(given) == ("theirs", "mine")


def test_what_was_written_in_the_same_transaction_is_written_again():
    given = draft()
    with transaction.atomic():
        given.title = "mine"
        with transaction.atomic():
            given.save()
        Draft.objects.update(title="theirs", text="theirs")
        given.save()
    assert stored(given) == ("mine", "theirs")


def test_what_was_loaded_in_the_same_transaction_is_left_to_others():
    pk = draft().pk
    with transaction.atomic():
        given = Draft.objects.get(pk=pk)
        Draft.objects.update(text="theirs")
        given.title = "mine"
        given.save()
    assert stored(given) == ("mine", "theirs")
    Draft.objects.update(title="theirs")
    given.save()
    assert stored(given) == ("theirs", "theirs")


def test_only_what_was_written_in_the_transaction_is_written_again():
    given = draft()
    with transaction.atomic():
        given.title = "mine"
        given.save()
        with rolled_back():
            given.copies = 1
            given.save()
        Draft.objects.update(title="theirs", text="theirs", copies=5)
        given.save()
    assert (*stored(given), Draft.objects.get().copies) == ("mine", "theirs", 1)


def test_what_was_rolled_back_stays_in_doubt_after_a_save_of_other_fields():
    given = draft()
    given.title = given.text = "mine"
    with rolled_back():
        given.save()
    given.save(update_fields=["title"])
    assert stored(given) == ("mine", "b")
    given.save()
    assert stored(given) == ("mine", "mine")


def refresh(given: Draft) -> Draft:
    given.refresh_from_db()
    return given


def load_again(given: Draft) -> Draft:
    return Draft.objects.get(pk=given.pk)


def load_later(given: Draft) -> Draft:
    again = Draft.objects.only("id").get(pk=given.pk)
    assert (again.title, again.text) == ("mine", "b")
    return again


def rolled_back_by_hand(given: Draft, read: Callable[[Draft], Draft]) -> Draft:
    with transaction.atomic():
        savepoint = savepoint_create()
        Draft.objects.update(title="mine")
        again = read(given)
        transaction.savepoint_rollback(savepoint)
    return again


def rolled_back_in_block(given: Draft, read: Callable[[Draft], Draft]) -> Draft:
    with transaction.atomic():
        given.save()
        with rolled_back():
            Draft.objects.update(title="mine")
            again = read(given)
    return again


def rolled_back_as_a_whole(given: Draft, read: Callable[[Draft], Draft]) -> Draft:
    with rolled_back():
        Draft.objects.update(title="mine")
        again = read(given)
    return again


def rolled_back_without_autocommit(given: Draft, read: Callable[[Draft], Draft]) -> Draft:
    transaction.set_autocommit(False)
    try:
        Draft.objects.update(title="mine")
        again = read(given)
        transaction.rollback()
    finally:
        transaction.set_autocommit(True)
    return again


@pytest.mark.parametrize("read", [refresh, load_again, load_later])
@pytest.mark.parametrize(
    "undo", [rolled_back_by_hand, rolled_back_in_block, rolled_back_as_a_whole, rolled_back_without_autocommit]
)
def test_what_was_read_and_then_rolled_back_is_written(undo, read):
    given = draft()
    again = undo(given, read)
    assert stored(given)[0] == "a"
    again.save()
    assert stored(given)[0] == "mine"


def test_what_a_savepoint_rolled_back_by_hand_is_written_after_the_commit():
    given = draft()
    with transaction.atomic():
        savepoint = savepoint_create()
        given.title = "mine"
        given.save()
        transaction.savepoint_rollback(savepoint)
    given.save()
    assert stored(given)[0] == "mine"


@pytest.mark.parametrize("inside", [True, False], ids=["in the transaction", "after the commit"])
def test_what_was_created_and_undone_by_hand_is_created_again_when_told_to(inside):
    with transaction.atomic():
        savepoint = savepoint_create()
        given = draft()
        transaction.savepoint_rollback(savepoint)
        if inside:
            with pytest.raises(ObjectGone):
                given.save()
            given.save(resurrect=True)
    if not inside:
        with pytest.raises(ObjectGone):
            given.save()
        given.save(resurrect=True)
    assert stored(given) == ("a", "b")


@pytest.mark.parametrize("before", [True, False], ids=["asked before", "asked after"])
def test_a_save_at_the_commit_writes_what_the_transaction_wrote_before(before):
    given = draft()

    def reset() -> None:
        given.title = "a"
        given.save()

    with transaction.atomic():
        if before:
            transaction.on_commit(reset)
        given.title = "mine"
        given.save()
        if not before:
            transaction.on_commit(reset)
        given.text = "mine"
        given.save()
    assert stored(given) == ("a", "mine")


def test_what_was_created_can_be_saved_by_a_callback_that_was_asked_for_before():
    given = Draft(title="a")

    def publish() -> None:
        given.title = "published"
        given.save()

    with transaction.atomic():
        transaction.on_commit(publish)
        given.save()
    assert stored(given)[0] == "published"


def test_a_callback_that_tests_call_before_the_commit_commits_nothing(monkeypatch):
    monkeypatch.setattr(transaction, "on_commit", lambda call, **options: call())
    given = draft()
    with rolled_back():
        given.title = "mine"
        given.save()
    given.save()
    assert stored(given)[0] == "mine"


def test_what_was_refused_by_a_receiver_is_written_again():
    def refuse(**kwargs: Any) -> None:
        raise Refused

    given = draft()
    given.title = "mine"
    post_save.connect(refuse, sender=Draft)
    try:
        with contextlib.suppress(Refused), transaction.atomic():
            given.save()
    finally:
        post_save.disconnect(refuse, sender=Draft)
    given.save()
    assert stored(given)[0] == "mine"


@pytest.mark.parametrize("outer", [contextlib.nullcontext, transaction.atomic], ids=["committed", "open"])
@pytest.mark.parametrize(
    "make", [lambda: Draft.objects.create(title="a"), lambda: in_bulk("a")], ids=["create", "bulk"]
)
def test_what_was_created_in_a_transaction_and_deleted_since_stays_gone(make, outer):
    with outer():
        with transaction.atomic():
            given = make()
            with rolled_back():
                draft()
        Draft.objects.filter(pk=given.pk).delete()
        with pytest.raises(ObjectGone):
            given.save()
    assert not Draft.objects.exists()


def in_bulk(title: str) -> Draft:
    # Not every database tells the keys that it gave.
    return Draft.objects.bulk_create([Draft(pk=7, title=title)])[0]


@pytest.mark.parametrize("outer", [contextlib.nullcontext, transaction.atomic], ids=["transaction", "savepoint"])
def test_what_was_created_in_bulk_and_rolled_back_is_created_again(outer):
    with outer():
        draft()
        with rolled_back():
            given = in_bulk("b")
        given.save()
    assert stored(given)[0] == "b"


@pytest.mark.parametrize("options", [{"force_update": True}, {"update_fields": ["title"]}], ids=["force", "fields"])
def test_what_was_created_and_rolled_back_is_not_updated_by_force(options):
    with rolled_back():
        given = draft()
    with pytest.raises(DatabaseError):
        given.save(**options)
    given.save()
    assert stored(given) == ("a", "b")


def test_a_savepoint_that_was_kept_goes_with_its_transaction():
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
def test_what_was_created_and_rolled_back_is_created_again(model):
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


def test_an_expression_that_was_rolled_back_counts_once():
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


def pickled(obj: Draft) -> Draft:
    return pickle.loads(pickle.dumps(obj))


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickled])
def test_a_copy_that_was_made_in_a_transaction_writes_what_was_rolled_back(again):
    given = draft()
    with rolled_back():
        given.title = "mine"
        given.save()
        copied = again(given)
    copied.save()
    assert stored(given) == ("mine", "b")


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy])
def test_a_copy_made_in_the_transaction_knows_what_was_committed(again):
    given = draft()
    with transaction.atomic():
        given.title = "mine"
        given.save()
        copied = again(given)
    Draft.objects.update(title="theirs")
    copied.text = "mine"
    copied.save()
    assert stored(given) == ("theirs", "mine")


def test_many_saves_in_one_transaction_are_remembered_once():
    given = draft()
    with transaction.atomic():
        for number in range(50):
            given.title = str(number)
            given.save()
        assert len(transaction.get_connection().run_on_commit) == 1
    assert stored(given)[0] == "49"
