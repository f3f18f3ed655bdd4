"""Newer arguments about another object wait while an attempt runs: however that attempt ends, they are worked on."""

import threading
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from celery.exceptions import Ignore, Reject

from django_task_safety import OperationCancelled, current_operation, idempotent_task, ledger
from django_task_safety.ledger import cancellation, worker_id
from django_task_safety.models import Operation
from django_task_safety.signals import operation_cancelled, operation_started
from django_task_safety.worker import recovery, sweeper
from tests.support.factories import PageFactory
from tests.support.guards import installed, raw
from tests.support.operations import only
from tests.testapp.models import Effect, Page
from tests.testapp.tasks import effect, record

State = Operation.State
pytestmark = pytest.mark.django_db(transaction=True)


def leave_by(raised: BaseException) -> None:
    raise raised


#: What the first attempt's body does.
ENDINGS: dict[str, Callable[[Any], object]] = {
    "return": lambda task: None,
    "ignore": lambda task: leave_by(Ignore("enough")),
    "reject": lambda task: leave_by(Reject("no")),
    "cancelled from inside": lambda task: leave_by(OperationCancelled("no use", current_operation())),
    "cancelled in its own transaction": lambda task: current_operation().cancel(),
    "failure": lambda task: leave_by(ValueError("no")),
    "replaced by another task": lambda task: leave_by(task.replace(record.si("replacement"))),
}


@idempotent_task(key="key", on_duplicate="replace", bind=True, max_retries=0)
def shown_on(self, page: Page, key: str, ending: str = "return") -> None:
    effect("began", str(page.pk))
    ENDINGS[ending](self)
    effect("shown", str(page.pk))


@idempotent_task(key="key", on_duplicate="replace")
def shown_anywhere(key: str, page: Page | None = None) -> None:
    effect("shown", str(page and page.pk))


@contextmanager
def asked_while_it_runs(call: Callable[[], object]):
    """As soon as the first attempt has begun, somebody asks for newer work."""
    asked = threading.Event()

    def ask(operation: Operation, **kwargs: Any) -> None:
        if not asked.is_set():
            asked.set()
            call()

    operation_started.connect(ask)
    try:
        yield
    finally:
        operation_started.disconnect(ask)
    assert asked.is_set()


def shown() -> list[str]:
    return list(Effect.objects.filter(name="shown").order_by("pk").values_list("key", flat=True))


@pytest.mark.parametrize("ending", ENDINGS)
def test_newer_work_about_another_object_outlives_every_end_of_the_attempt(worker, ending):
    first, second = PageFactory.create_batch(2)
    shown_on.delay(first, "key", ending)
    with asked_while_it_runs(partial(shown_on.delay, second, "key")):
        worker.deliver_one()
    worker.finish()
    assert shown()[-1] == str(second.pk)
    assert (only().state, only().subject) == (State.SUCCEEDED, second)


def test_newer_work_outlives_an_attempt_whose_object_is_gone(worker):
    first, second = PageFactory.create_batch(2)
    shown_on.delay(first, "key")

    def delete_and_ask() -> None:
        Page.objects.filter(pk=first.pk)._raw_delete("default")
        shown_on.delay(second, "key")

    with asked_while_it_runs(delete_and_ask):
        worker.deliver_one()
    worker.finish()
    assert shown() == [str(second.pk)]
    assert only().state == State.SUCCEEDED


def begin(operation: Operation) -> None:
    assert ledger.claim(operation.pk, worker_id.me(), 30, None).claimed


def guarded_delete(page: Page) -> None:
    with installed("Page"):
        raw(page)


DELETES: dict[str, Callable[[Page], object]] = {
    "instance": lambda page: page.delete(),
    "queryset": lambda page: Page.objects.filter(pk=page.pk).delete(),
    "guard in the database": guarded_delete,
}


@pytest.mark.parametrize("delete", DELETES.values(), ids=DELETES)
@pytest.mark.parametrize("listened", [False, True], ids=["nobody listens", "somebody listens"])
def test_a_delete_ends_the_attempt_on_its_object_and_leaves_newer_work_about_another(worker, delete, listened):
    first, second = PageFactory.create_batch(2)
    cancelled: list[Any] = []

    def note(operation: Operation, **kwargs: Any) -> None:
        cancelled.append(operation.pk)

    operation = shown_on.enqueue(first, "key")
    stale = worker.take_one()
    begin(operation)
    shown_on.enqueue(second, "key")
    if listened:
        operation_cancelled.connect(note)
    try:
        delete(first)
    finally:
        operation_cancelled.disconnect(note)
    assert cancelled == []
    assert (only().state, only().subject, only().error) == (State.QUEUED, second, "")
    assert list(second.operations.pending()) == [operation]
    sweeper.sweep()
    worker.finish()
    worker.deliver(stale)
    assert shown() == [str(second.pk)]
    assert only().state == State.SUCCEEDED


@pytest.mark.parametrize("delete", DELETES.values(), ids=DELETES)
def test_a_delete_cancels_newer_work_about_the_same_object(worker, delete):
    page = PageFactory()
    begin(shown_on.enqueue(page, "key"))
    shown_on.enqueue(page, "key")
    delete(page)
    assert only().state == State.CANCELLED
    assert "was deleted" in only().error


def test_newer_work_about_no_object_outlives_the_first_one_s(worker):
    page = PageFactory()
    begin(shown_anywhere.enqueue("key", page))
    shown_anywhere.enqueue("key")
    page.delete()
    assert (only().state, only().subject_label, only().on_delete) == (State.QUEUED, "", "")
    sweeper.sweep()
    worker.finish()
    assert shown() == ["None"]


def test_newer_work_about_an_object_follows_that_object_where_the_first_had_none(worker):
    page = PageFactory()
    begin(shown_anywhere.enqueue("key"))
    shown_anywhere.enqueue("key", page)
    worker.pass_time(60)
    sweeper.sweep()
    assert (only().state, only().subject) == (State.QUEUED, page)
    page.delete()
    assert only().state == State.CANCELLED


def test_newer_work_whose_own_object_goes_before_it_begins_is_cancelled(worker):
    first, second = PageFactory.create_batch(2)
    begin(shown_on.enqueue(first, "key"))
    shown_on.enqueue(second, "key")
    Page.objects.all().delete()
    sweeper.sweep()
    worker.finish()
    assert shown() == []
    assert only().state == State.CANCELLED


def test_a_cancel_of_the_operation_ends_all_its_work(worker):
    first, second = PageFactory.create_batch(2)
    operation = shown_on.enqueue(first, "key")
    begin(operation)
    shown_on.enqueue(second, "key")
    assert cancellation.cancel(only(), "not wanted any more")
    worker.finish()
    assert shown() == []
    # And what waited is not taken up by a rerun with other arguments.
    shown_on.delay(first, "key")
    worker.finish()
    assert shown() == [str(first.pk)]
    assert only().subject == first


def test_a_lost_worker_s_operation_goes_on_with_the_newer_object(worker):
    first, second = PageFactory.create_batch(2)
    operation = shown_on.enqueue(first, "key")
    worker.take()
    begin(operation)
    shown_on.enqueue(second, "key")
    recovery.worker_lost(operation.pk, RuntimeError("killed"))
    assert (only().state, only().subject) == (State.QUEUED, second)
    worker.finish()
    assert shown() == [str(second.pk)]
