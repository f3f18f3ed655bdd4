"""Saving, removing and restoring at the same time: both orders are forced, and the database decides."""

from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.db.models import ProtectedError

from django_task_safety import CANCEL, PROTECT, ObjectGone, ObjectLocked, safe_task
from django_task_safety.models import Operation
from tests.notesapp.models import Copy, Note, Notebook, Report, Signature
from tests.support.racing import assert_waits, open_transaction

pytestmark = pytest.mark.django_db(transaction=True)


@safe_task(on_delete=PROTECT)
def protects_in_race(obj: Any) -> None: ...


@safe_task(on_delete=CANCEL)
def cancelled_in_race(obj: Any) -> None: ...


def note() -> Note:
    return Note.objects.create(title="a")


def fresh(obj: Any) -> Any:
    return type(obj)._base_manager.get(pk=obj.pk)


REMOVALS = {
    "instance": lambda obj: fresh(obj).delete(),
    "queryset": lambda obj: type(obj).objects.filter(pk=obj.pk).delete(),
}
every_removal = pytest.mark.parametrize("remove", REMOVALS.values(), ids=REMOVALS)


@every_removal
def test_of_two_removals_at_once_one_removes(in_thread, remove):
    given = note()
    Copy.objects.create(note=given)
    # The second one has the object before the first one commits.
    stale = fresh(given)
    with open_transaction(lambda: remove(given)):
        late = in_thread(lambda: stale.delete() if remove is REMOVALS["instance"] else remove(given))
        assert_waits(late)
    assert late.result(30) == (0, {})
    assert Copy.removed_objects.get().removal == Note.removed_objects.get().removal


@every_removal
def test_a_save_that_meets_a_removal_writes_nothing(in_thread, remove):
    stale = note()
    stale.title = "mine"
    with open_transaction(lambda: remove(stale)):
        late = in_thread(stale.save)
        assert_waits(late)
    assert type(late.result(30)) is ObjectGone
    assert (fresh(stale).title, fresh(stale).is_removed) == ("a", True)


@every_removal
def test_a_save_that_meets_a_removal_that_is_rolled_back_goes_on(in_thread, remove):
    stale = note()
    stale.title = "mine"
    with open_transaction(lambda: remove(stale), commit=False):
        late = in_thread(stale.save)
        assert_waits(late)
    assert late.result(30) is None
    assert (fresh(stale).title, fresh(stale).is_removed) == ("mine", False)


def test_a_save_that_meets_a_hard_delete_inserts_nothing(in_thread):
    stale = note()
    stale.title = "mine"
    with open_transaction(lambda: fresh(stale).hard_delete()):
        late = in_thread(stale.save)
        assert_waits(late)
    assert type(late.result(30)) is ObjectGone
    assert not Note.all_objects.exists()


@pytest.mark.parametrize("column", ["pages", "title"])
def test_a_save_of_a_child_that_meets_a_removal_writes_to_none_of_its_tables(in_thread, column):
    stale = Report.objects.create(title="1", pages=1)
    setattr(stale, column, "2")
    with open_transaction(lambda: fresh(stale).delete()):
        late = in_thread(stale.save)
        assert_waits(late)
    assert type(late.result(30)) is ObjectGone
    assert (fresh(stale).pages, fresh(stale).title) == (1, "1")


@every_removal
def test_a_removal_that_meets_a_save_removes_what_was_saved(in_thread, remove):
    given = note()

    def save() -> None:
        saved = fresh(given)
        saved.title = "theirs"
        saved.save()

    with open_transaction(save):
        late = in_thread(lambda: remove(given))
        assert_waits(late)
    assert late.result(30) == (1, {"notesapp.Note": 1})
    assert (fresh(given).title, fresh(given).is_removed) == ("theirs", True)


def test_of_two_restores_at_once_one_restores(in_thread):
    given = note()
    given.delete()
    with open_transaction(lambda: fresh(given).restore()):
        late = in_thread(lambda: Note.all_objects.filter(pk=given.pk).restore())
        assert_waits(late)
    assert late.result(30) == (0, {})
    assert not fresh(given).is_removed


def test_a_removal_that_meets_a_restore_removes_all_that_came_back(in_thread):
    given = note()
    copy = Copy.objects.create(note=given)
    stale = fresh(given)
    given.delete()
    with open_transaction(lambda: fresh(given).restore()):
        late = in_thread(stale.delete)
        assert_waits(late)
    assert late.result(30) == (2, {"notesapp.Note": 1, "notesapp.Copy": 1})
    assert fresh(copy).removal == fresh(given).removal


@contextmanager
def meanwhile(*calls: Any) -> Iterator[list[Any]]:
    """Have the others begin while the copies are looked for: one before and one after, as far as they are let."""
    begun: list[Any] = []

    def begin() -> None:
        begun.append(calls[len(begun)]())
        wait(begun, timeout=0.5)

    def look(execute: Any, sql: str, *args: Any) -> Any:
        if begun or not (sql.startswith("SELECT") and "notesapp_copy" in sql):
            return execute(sql, *args)
        begin()
        found = execute(sql, *args)
        if len(calls) > 1:
            begin()
        return found

    with connection.execute_wrapper(look):
        yield begun
    assert len(begun) == len(calls)


def test_children_restored_with_their_parent_during_a_removal_come_back_all_or_none(in_thread):
    notebook = Notebook.objects.create(title="n")
    given = Note.objects.create(title="a", notebook=notebook)
    copy = Copy.objects.create(note=given)
    notebook.delete()
    with meanwhile(lambda: in_thread(lambda: (fresh(given).restore(), fresh(given).delete()))) as begun:
        notebook.restore()
    begun[0].result(30)
    assert fresh(copy).removal == fresh(given).removal


def test_children_removed_with_their_parent_during_a_restore_go_all_or_none(in_thread):
    notebook = Notebook.objects.create(title="n")
    given = Note.objects.create(title="a", notebook=notebook)
    copy = Copy.objects.create(note=given)
    with meanwhile(lambda: in_thread(fresh(given).delete), lambda: in_thread(lambda: fresh(given).restore())) as begun:
        notebook.delete()
    for one in begun:
        one.result(30)
    assert fresh(copy).removal == fresh(given).removal


def test_an_operation_that_protects_a_child_refuses_a_removal_while_somebody_writes_the_parent(in_thread):
    given = note()
    Signature.objects.create(note=given)
    with open_transaction(lambda: Note.objects.update(text="theirs")):
        late = in_thread(given.delete)
        if connection.features.has_select_for_update_skip_locked:
            assert isinstance(late.result(30), ProtectedError)
    assert isinstance(late.result(30), ProtectedError)


def test_a_child_that_is_being_removed_keeps_its_own_removal(in_thread):
    given = note()
    copy = Copy.objects.create(note=given)
    with open_transaction(lambda: fresh(copy).delete()):
        late = in_thread(given.delete)
        assert_waits(late)
    assert late.result(30) == (1, {"notesapp.Note": 1})
    assert fresh(copy).removal != fresh(given).removal


def test_an_enqueue_that_meets_a_removal_finds_the_object_gone(in_thread):
    given = note()
    with open_transaction(lambda: fresh(given).delete()):
        late = in_thread(lambda: protects_in_race.enqueue(given))
        assert_waits(late)
    assert type(late.result(30)) is ObjectGone
    assert not Operation.objects.exists()


def test_a_removal_that_meets_an_enqueue_is_refused_or_cancels_it(in_thread):
    for task, removed in ((protects_in_race, False), (cancelled_in_race, True)):
        given = note()
        with open_transaction(lambda task=task, given=given: task.enqueue(given)):
            late = in_thread(given.delete)
            assert_waits(late)
        assert isinstance(late.result(30), ObjectLocked) is not removed
        assert fresh(given).is_removed is removed
        assert Operation.objects.get(task=task.name).is_pending is not removed
