"""Cancelled is cancelled: a committed row, which every claim and every settle looks at."""

from collections.abc import Callable

import pytest
from django.db import connection
from django.utils.translation import gettext_lazy

from django_task_safety import OperationCancelled, current_operation, idempotent_task, safe_task, track
from django_task_safety.models import Operation
from django_task_safety.signals import operation_cancelled
from django_task_safety.worker import sweeper
from tests.celery import app
from tests.support.delivering import about_operations, elsewhere, statements, undone
from tests.support.factories import NoteFactory
from tests.support.ids import label
from tests.support.operations import only
from tests.testapp.models import Effect
from tests.testapp.tasks import act, charge, copy_note, double, effect, record

State = Operation.State
MEANWHILE: list[Callable[[], object]] = []


@safe_task
def busy(name: str = "") -> str:
    effect("before", name)
    for happens in MEANWHILE:
        happens()
    effect("after", name)
    return name


@safe_task(atomic=False)
def busy_outside() -> str:
    for happens in MEANWHILE:
        happens()
    return "done"


@safe_task
def checks() -> None:
    for happens in MEANWHILE:
        happens()
    current_operation().check_cancelled()
    effect("after the check")


@safe_task
def reports() -> None:
    for happens in MEANWHILE:
        happens()
    current_operation().report(1, 2)
    effect("after the report")


@safe_task
def tracks() -> None:
    for happens in MEANWHILE:
        happens()
    for _ in track(range(3)):
        effect("tracked")


@idempotent_task(key="key", atomic=False)
def swallows(key: str) -> str:
    for happens in MEANWHILE:
        happens()
    try:
        current_operation().check_cancelled()
    except OperationCancelled:
        effect("noticed")
    return "finished anyway"


@pytest.fixture
def meanwhile(monkeypatch) -> Callable[[Callable[[], object]], None]:
    return lambda happens: monkeypatch.setattr("tests.ledger.test_cancellation.MEANWHILE", [happens])


def cancel_only() -> None:
    assert only().cancel("by the user") is True


def test_a_cancelled_operation_that_is_queued_never_starts(worker):
    operation = record.enqueue("a")
    assert operation.cancel("not needed") is True
    assert (operation.state, only().state, only().error) == (State.CANCELLED, State.CANCELLED, "not needed")
    assert only().ended_at is not None
    worker.drain()
    assert not Effect.objects.exists()


@pytest.mark.parametrize("countdown", [30, 3600])
def test_a_cancelled_operation_that_is_scheduled_never_starts(worker, countdown):
    result = record.apply_async(("a",), countdown=countdown)
    cancel_only()
    worker.pass_time(countdown + 100)
    sweeper.sweep()
    worker.drain()
    assert not Effect.objects.exists()
    assert result.state == "REVOKED"


def test_a_cancelled_operation_that_waits_for_its_retry_is_not_retried(worker):
    act.delay("retry")
    worker.deliver_one()
    cancel_only()
    worker.drain()
    assert (only().state, only().attempt) == (State.CANCELLED, 1)
    assert not Effect.objects.exists()


@pytest.mark.parametrize("task", [busy, busy_outside, swallows])
def test_a_cancelled_operation_that_runs_cannot_settle(worker, meanwhile, task):
    if task is busy and connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer: a cancel waits for the body's transaction")
    meanwhile(lambda: elsewhere(cancel_only))
    task.delay(*(["a"] if task is swallows else []))
    delivery = worker.deliver_one()
    assert (delivery.state, delivery.acknowledged) == ("IGNORED", True)
    assert (only().state, only().error, only().result) == (State.CANCELLED, "by the user", None)
    assert not Effect.objects.filter(name__in=["before", "after"]).exists()


def test_an_operation_may_cancel_itself(worker, meanwhile):
    meanwhile(lambda: current_operation().cancel("by itself"))
    busy.delay()
    assert worker.deliver_one().state == "IGNORED"
    assert only().state == State.CANCELLED
    assert not Effect.objects.exists()


@pytest.mark.parametrize("task", [checks, reports, tracks])
def test_a_cancelled_operation_that_runs_hears_of_it_at_the_next_check(worker, meanwhile, task):
    meanwhile(cancel_only if connection.vendor == "sqlite" else lambda: elsewhere(cancel_only))
    task.delay()
    assert worker.deliver_one().state == "IGNORED"
    assert only().state == State.CANCELLED
    assert not Effect.objects.exists()


def test_check_cancelled_does_nothing_to_an_operation_that_is_not_cancelled(worker):
    checks.delay()
    worker.drain()
    assert only().state == State.SUCCEEDED
    assert Effect.objects.get().name == "after the check"


def test_cancel_answers_whether_there_was_something_to_end(worker):
    operation = record.enqueue("a")
    assert operation.cancel() is True
    assert operation.cancel() is False
    assert Operation.objects.get().cancel() is False
    done = record.enqueue("b")
    worker.drain()
    assert done.cancel() is False
    assert Operation.objects.get(pk=done.pk).state == State.SUCCEEDED


def test_a_stale_instance_does_not_cancel_what_has_ended(worker):
    stale = record.enqueue("a")
    worker.drain()
    assert stale.is_pending
    assert stale.cancel() is False


def test_many_operations_are_cancelled_in_a_fixed_number_of_statements(worker):
    def count(number: int) -> int:
        charge.enqueue_many([(n,) for n in range(number, number * 2)])
        with statements() as found:
            assert Operation.objects.cancel("all") == number
        return len(about_operations(found))

    assert count(3) == count(400) <= 3
    worker.drain(limit=1000)
    assert not Effect.objects.exists()


def test_a_queryset_cancels_only_what_it_found_and_what_is_pending(worker):
    note, other = NoteFactory.create_batch(2)
    done = copy_note.enqueue(note)
    worker.drain()
    first, second, kept = copy_note.enqueue(note), copy_note.enqueue(note), copy_note.enqueue(other)
    assert Operation.objects.for_object(note).cancel("gone") == 2
    states = {operation.pk: operation.state for operation in Operation.objects.all()}
    assert [states[operation.pk] for operation in (done, first, second, kept)] == [
        *(State.SUCCEEDED, State.CANCELLED, State.CANCELLED, State.QUEUED)
    ]
    assert Operation.objects.for_object(note).cancel() == 0


def test_a_sliced_queryset_cancels_the_operations_of_the_slice(worker):
    charge.enqueue_many([(n,) for n in range(5)])
    assert Operation.objects.order_by("pk")[:2].cancel() == 2
    assert Operation.objects.pending().count() == 3


@pytest.mark.parametrize("how", ["one", "many"])
def test_a_cancel_that_is_rolled_back_cancels_nothing(worker, how):
    operation = record.enqueue("a")
    with undone():
        assert operation.cancel() if how == "one" else Operation.objects.cancel()
    assert only().state == State.QUEUED
    worker.drain()
    assert (only().state, Effect.objects.count()) == (State.SUCCEEDED, 1)


def test_who_waits_for_the_result_hears_of_a_cancel_with_the_next_sweep(worker):
    result = record.delay("a")
    cancel_only()
    sweeper.sweep()
    assert result.state == "REVOKED"


def test_a_cancelled_key_can_be_enqueued_again(worker):
    first = double.enqueue(1)
    first.cancel()
    again = double.enqueue(1)
    assert (again.pk, again.state, again.error) == (first.pk, State.QUEUED, "")
    worker.drain()
    assert (only().result, Effect.objects.count()) == (2, 1)


def test_a_cancelled_operation_is_queued_again_by_retry(worker):
    operation = record.enqueue("a")
    assert operation.retry() is False
    operation.cancel()
    assert operation.retry() is True
    assert operation.state == State.QUEUED
    worker.drain()
    assert (only().state, Effect.objects.count()) == (State.SUCCEEDED, 1)
    assert only().retry() is False


def test_a_chain_does_not_go_on_after_a_cancelled_task(worker):
    result = (double.s(1) | double.s()).apply_async()
    Operation.objects.get().cancel()
    worker.drain()
    assert not Effect.objects.exists()
    assert result.parent.state == "REVOKED"


def test_a_revoked_operation_is_cancelled_though_no_worker_remembers(worker):
    operation = record.enqueue("a")
    message = worker.take_one()
    operation.cancel()
    app.control.revoke(str(operation.pk))
    worker.deliver(message)
    assert not Effect.objects.exists()


@pytest.mark.parametrize("reason", [gettext_lazy("no longer wanted"), ValueError("no longer wanted"), 5], ids=label)
def test_the_reason_of_a_cancel_may_be_of_another_type_and_is_kept_as_text(worker, monkeypatch, caplog, reason):
    heard: list[str] = []

    def receiver(operation: Operation, **kwargs: object) -> None:
        heard.append(operation.error)

    monkeypatch.setattr(operation_cancelled, "receivers", [])
    operation_cancelled.connect(receiver)
    first, second = record.enqueue("a"), record.enqueue("b")
    first.cancel(reason)
    Operation.objects.cancel(reason)
    assert heard == [str(reason)] * 2
    assert all(type(text) is str for text in [first.error, *heard])
    assert set(Operation.objects.values_list("error", flat=True)) == {str(reason)}
    sweeper.sweep()
    assert app.AsyncResult(str(second.pk)).state == "REVOKED"


def test_the_reason_of_a_cancel_may_be_any_text(worker):
    operation = record.enqueue("a")
    operation.cancel("\x00 and \ud800")
    assert only().error
