"""Code that sets ``is_removed`` itself and saves: what that removes follows the rules of delete()."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import ProtectedError, Value
from django.db.models.signals import pre_save
from django.forms import modelform_factory

from django_task_safety import PROTECT, ObjectGone, ObjectLocked, safe_task
from django_task_safety.models import Operation
from tests.notesapp.models import Copy, Diary, Label, Ledger, Note, Reminder, Report, Signature
from tests.notesapp.ways import fresh, is_removed, note
from tests.support.operations import state

State = Operation.State
pytestmark = pytest.mark.django_db(transaction=True)


@safe_task(on_delete=PROTECT)
def protects_from_marks(note: Any) -> None: ...


@safe_task
def goes_with_marks(note: Any) -> None: ...


class Refused(Exception):
    """Whatever comes after the save."""


@contextlib.contextmanager
def rolled_back():
    with contextlib.suppress(Refused), transaction.atomic():
        yield
        raise Refused


def mark(obj: Any) -> None:
    obj.is_removed = True
    obj.save()


def mark_alone(obj: Any) -> None:
    obj.is_removed = True
    obj.save(update_fields=["is_removed"])


def mark_by_key(obj: Any) -> None:
    type(obj)(pk=obj.pk, title=obj.title, is_removed=True).save()


def mark_by_update_or_create(obj: Any) -> None:
    type(obj).objects.update_or_create(pk=obj.pk, defaults={"is_removed": True})


def mark_in_receiver(obj: Any) -> None:
    def set_mark(instance: Any, **kwargs: Any) -> None:
        instance.is_removed = True

    pre_save.connect(set_mark, sender=type(obj))
    try:
        obj.save()
    finally:
        pre_save.disconnect(set_mark, sender=type(obj))


Marking = Callable[[Any], None]
MARKINGS = [mark, mark_alone, mark_by_key, mark_by_update_or_create, mark_in_receiver]
every_marking = pytest.mark.parametrize("marking", MARKINGS)


@every_marking
def test_a_mark_set_by_hand_removes_as_delete_does(marking: Marking):
    given = note()
    copy, reminder = Copy.objects.create(note=given), Reminder.objects.create(note=given)
    operation = goes_with_marks.enqueue(given)
    marking(given)
    assert is_removed(given)
    assert fresh(given).removed_at is not None
    assert fresh(given).removal == fresh(copy).removal is not None
    assert fresh(reminder).note is None
    assert state(operation) == State.CANCELLED
    assert fresh(given).restore() == (2, {"notesapp.Note": 1, "notesapp.Copy": 1})


@every_marking
def test_a_mark_set_by_hand_is_refused_where_delete_is(marking: Marking):
    given, signed = note(), note()
    operation = protects_from_marks.enqueue(given)
    Signature.objects.create(note=signed)
    with pytest.raises(ObjectLocked) as refusal:
        marking(given)
    assert refusal.value.operation == operation
    with pytest.raises(ProtectedError):
        marking(signed)
    assert not is_removed(given)
    assert not is_removed(signed)
    assert state(operation) == State.QUEUED


@pytest.mark.parametrize("model", [Ledger, Diary])
def test_a_mark_set_by_hand_is_refused_under_a_lock(model: Any):
    given = model.objects.create(title="a")
    with given.lock(), pytest.raises(ObjectLocked):
        mark(given)
    assert not is_removed(given)
    mark(given)
    assert is_removed(given)


def test_a_refused_mark_writes_nothing_and_the_transaction_goes_on():
    given = note()
    protects_from_marks.enqueue(given)
    given.title = "b"
    with transaction.atomic():
        with pytest.raises(ObjectLocked):
            mark(given)
        note(title="other")
    assert fresh(given).title == "a"
    Operation.objects.cancel()
    given.save()
    assert (fresh(given).title, is_removed(given)) == ("b", True)


def test_other_columns_are_saved_with_a_mark():
    given = note()
    given.title = "b"
    mark(given)
    assert (fresh(given).title, is_removed(given)) == ("b", True)
    assert Note.removed_objects.get() == given


@pytest.mark.parametrize(
    ("written", "removes"), [("False", False), ("0", False), (0, False), ("True", True), (1, True)]
)
def test_a_mark_is_taken_as_django_writes_it(written: Any, removes: bool):
    given, new = note(), Note(pk=100, title="new", is_removed=written)
    given.is_removed = written
    given.save()
    new.save()
    assert (is_removed(given), is_removed(new)) == (removes, removes)


def test_a_mark_of_which_nobody_can_tell_is_refused():
    given = note()
    given.is_removed = Value(True)
    with pytest.raises(ValidationError):
        given.save()
    assert not is_removed(given)


def test_a_mark_of_a_child_by_inheritance_removes_it():
    given = Report.objects.create(title="a")
    mark(given)
    assert fresh(given).removed_at is not None


def test_a_mark_that_is_not_among_the_update_fields_is_not_written():
    given = note()
    given.is_removed, given.title = True, "b"
    given.save(update_fields=["title"])
    assert (fresh(given).title, is_removed(given)) == ("b", False)


def test_a_new_row_may_be_created_as_removed():
    """No operation can be pending on it, and it holds no unique value among live rows."""
    given = note(is_removed=True)
    assert is_removed(given)
    given.title = "b"
    given.save()
    assert (fresh(given).title, is_removed(given)) == ("b", True)


def test_a_mark_on_a_stale_instance_is_refused_as_its_save_is():
    given = note()
    stale, gone = fresh(given), fresh(given)
    given.delete()
    removal = fresh(given).removal
    with pytest.raises(ObjectGone):
        mark(stale)
    assert fresh(given).removal == removal
    given.hard_delete()
    with pytest.raises(ObjectGone):
        mark(gone)


def test_a_save_of_a_removed_instance_does_not_remove_what_was_restored_meanwhile():
    given = note()
    given.delete()
    with transaction.atomic():
        stale = fresh(given)
    fresh(given).restore()
    operation = protects_from_marks.enqueue(fresh(given))
    stale.title = "b"
    stale.save()
    assert (fresh(given).title, is_removed(given)) == ("b", False)
    assert state(operation) == State.QUEUED


@pytest.mark.parametrize("outer", [contextlib.nullcontext, transaction.atomic], ids=["transaction", "savepoint"])
def test_a_mark_that_was_rolled_back_is_set_again(outer: Any):
    given = note()
    with outer():
        with rolled_back():
            mark(given)
        given.save()
    assert is_removed(given)


@pytest.mark.parametrize("outer", [contextlib.nullcontext, transaction.atomic], ids=["transaction", "savepoint"])
@pytest.mark.parametrize("options", [{}, {"resurrect": True}], ids=["plain", "resurrect"])
def test_a_removed_row_whose_return_was_rolled_back_comes_back(outer: Any, options: Any):
    given = note()
    given.delete()
    given = fresh(given)
    given.is_removed = False
    with outer():
        with rolled_back():
            given.save(**options)
        given.title = "b"
        given.save()
    assert (fresh(given).title, is_removed(given), fresh(given).removed_at) == ("b", False, None)


def test_a_return_that_was_rolled_back_does_not_undo_a_later_removal():
    given = note()
    given.delete()
    given = fresh(given)
    given.is_removed = False
    with rolled_back():
        given.save()
    given.save()
    fresh(given).delete()
    given.title = "b"
    with pytest.raises(ObjectGone):
        given.save()
    given.refresh_from_db()
    assert (given.title, given.is_removed) == ("a", True)


def test_forms_do_not_offer_the_mark():
    assert list(modelform_factory(Label, fields="__all__")().fields) == ["slug", "text"]
