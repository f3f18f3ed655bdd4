"""Who waits for a result is answered, and once: groups of duplicates, callbacks, chords, lost attempts."""

import uuid
from contextlib import suppress

import pytest
from celery import chain, chord, group

from django_task_safety import idempotent_task, ledger, safe_task
from django_task_safety.ledger import worker_id
from django_task_safety.models import Operation
from django_task_safety.values import references
from django_task_safety.worker import recovery, sweeper
from tests.celery import app
from tests.support.operations import only
from tests.testapp.guarded import Page
from tests.testapp.guarded_tasks import numbered
from tests.testapp.models import Effect
from tests.testapp.tasks import effect, record, total

State = Operation.State


@safe_task
def same(n: int = 0) -> int:
    return n


@idempotent_task(key="key", max_retries=0)
def picky(key: str, fail: bool = True) -> str:
    if fail and not Effect.objects.filter(name="mended").exists():
        raise ValueError("no")
    return key


@idempotent_task(key="key", on_duplicate="replace")
def latest(key: str, value: int) -> int:
    return value


@idempotent_task(key="key", rerun="always")
def always(key: str) -> str:
    return key


@idempotent_task(key="key", match="value")
def matched(key: str, value: int) -> int:
    return value


@safe_task(ignore_result=True)
def returns_a_list_of_objects() -> list[object]:
    return [object()]


def callbacks() -> int:
    return Effect.objects.filter(name="called back").count()


def lose(pk: str) -> None:
    """Let a worker take the operation and never be heard of again."""
    ledger.claim(uuid.UUID(pk), "a worker that dies", 1, None)


def test_a_group_with_reruns_of_failed_operations_answers(worker):
    picky.delay("a")
    worker.drain()
    members = group([picky.s("a", False), picky.s("b", False)]).apply_async()
    worker.drain()
    assert members.get(timeout=2) == ["a", "b"]


def test_a_group_with_reruns_of_succeeded_operations_answers(worker):
    always.delay("a")
    worker.drain()
    members = group([always.s("a"), always.s("b")]).apply_async()
    worker.drain()
    assert members.get(timeout=2) == ["a", "b"]


def test_a_group_whose_member_replaces_queued_arguments_answers(worker):
    latest.delay("a", 1)
    members = group([latest.s("a", 2)]).apply_async()
    worker.drain()
    assert members.get(timeout=2) == [2]


def test_the_success_of_a_retried_failure_with_callbacks_is_remembered(worker):
    pk = picky.apply_async(("a",), link=record.si("called back")).id
    worker.drain()
    effect("mended")
    assert only().retry()
    worker.drain()
    worker.pass_time(120)
    sweeper.sweep()
    assert Operation.objects.get(pk=pk).state == State.SUCCEEDED


def test_callbacks_that_a_copy_of_the_message_calls_again_run_once(worker):
    pk = same.apply_async((1,), link=record.si("called back")).id
    message = worker.take_one()
    worker.deliver(message)
    Operation.objects.filter(pk=pk).update(delivered=False)
    worker.deliver(message)
    worker.drain()
    assert callbacks() == 1


def test_the_callbacks_of_an_eager_call_are_not_called_again_by_the_sweeper(worker):
    same.apply((1,), link=record.si("called back"))
    worker.finish()
    worker.pass_time(100)
    sweeper.sweep()
    worker.drain()
    assert callbacks() == 1


def test_the_errbacks_that_celery_called_at_a_hard_time_limit_are_not_called_again(worker):
    pk = same.apply_async((1,), link_error=record.si("called back")).id
    worker.take()
    ledger.claim(uuid.UUID(pk), worker_id.me(), 30, None)
    recovery.time_limit_passed(uuid.UUID(pk), TimeoutError("limit"))
    assert only().state == State.FAILED
    worker.pass_time(100)
    sweeper.sweep()
    worker.drain()
    assert callbacks() == 0


@pytest.mark.filterwarnings("ignore:Exception raised outside body")
def test_an_outcome_that_the_result_backend_did_not_take_is_not_delivered(worker, monkeypatch):
    def refuse(*args, **kwargs):
        raise RuntimeError("the result store is down")

    chord([same.s(1), same.s(2)])(total.s())
    first, _ = worker.take()
    monkeypatch.setattr(type(same.backend), "mark_as_done", refuse)
    monkeypatch.setattr(type(same.backend), "mark_as_failure", refuse)
    with suppress(RuntimeError):
        worker.deliver(first)
    row = Operation.objects.get(pk=first.headers["id"])
    assert (row.state, row.delivered) == (State.SUCCEEDED, False)


def test_a_duplicate_that_waits_hears_of_an_attempt_that_is_lost_for_good(worker):
    result = picky.delay("a")
    worker.take()
    lose(result.id)
    worker.pass_time(10)
    assert sweeper.sweep().failed == 1
    assert result.state == "FAILURE"


def test_an_ignored_return_value_that_cannot_be_stored_is_dropped(worker):
    returns_a_list_of_objects.delay()
    worker.drain()
    assert (only().state, only().result) == (State.SUCCEEDED, None)


def test_a_reused_key_found_by_the_worker_leaves_a_failed_operation(worker):
    matched.delay("a", 1)
    worker.drain()
    pk = app.send_task(matched.name, ("a", 2)).id
    worker.deliver_one()
    refused = Operation.all_rows.get(pk=pk)
    assert refused.state == State.FAILED
    assert "KeyReused" in refused.error


def test_apply_async_takes_the_task_id_as_its_third_positional_argument(worker):
    pk = str(uuid.uuid4())
    assert same.apply_async((1,), {}, pk).id == pk


def test_a_chord_hears_that_the_head_of_a_chain_in_it_was_cancelled(worker):
    result = chord([chain(record.si("first"), record.si("second")), record.si("third")])(record.si("body"))
    Operation.objects.get(payload__contains="first").cancel()
    worker.finish()
    assert result.state in {"FAILURE", "REVOKED"}
    assert not Operation.objects.filter(payload__contains="body", state="succeeded").exists()


@pytest.mark.parametrize(("countdown", "looks"), [(40, 4), (3600, 10)])
def test_a_waiter_for_what_is_to_start_later_is_looked_at_when_that_is_due(worker, countdown, looks):
    first = picky.apply_async(("a", False), countdown=countdown)
    members = group([picky.s("a", False), picky.s("b", False)]).apply_async()
    worker.finish()
    assert members.get(timeout=2) == ["a", "b"]
    assert worker.ahead < countdown + 30
    assert Operation.all_rows.get(waits_for=first.id).attempt <= looks


def test_a_long_wait_of_a_waiter_is_not_in_the_broker(worker):
    picky.apply_async(("a", False), countdown=3600)
    group([picky.s("a", False)]).apply_async()
    worker.deliver_one()
    assert worker.take() == []
    worker.pass_time(300)
    assert not sweeper.sweep()


def test_a_waiter_hears_of_a_cancel_long_before_the_start(worker):
    first = picky.apply_async(("a", False), countdown=24 * 3600)
    members = group([picky.s("a", False), picky.s("b", False)]).apply_async()
    worker.drain()
    Operation.objects.get(pk=first.id).cancel()
    worker.pass_time(11 * 60)
    sweeper.sweep()
    worker.drain()
    assert [member.state for member in members.results] == ["REVOKED", "SUCCESS"]


def test_the_chord_of_a_cancelled_operation_hears_of_it_though_its_waiters_did_first(worker):
    first = chord([picky.s("a"), record.si("one")])(record.si("never"))
    second = chord([picky.s("a"), record.si("two")])(record.si("never"))
    messages = worker.take()
    Operation.objects.get(task=picky.name).cancel()
    for message in reversed(messages):
        worker.deliver(message)
    worker.finish()
    assert {first.state, second.state} == {"FAILURE"}


@pytest.mark.parametrize("sent", [False, True])
def test_a_duplicate_in_a_group_of_an_operation_that_holds_a_lock_is_answered(worker, sent):
    page = Page.objects.create(title="a")
    numbered.delay(page, 1)
    if sent:
        waits = app.send_task(numbered.name, references.dump([page, 1]))
    else:
        waits = group([numbered.s(page, 1)]).apply_async()[0]
    for message in reversed(worker.take()):
        worker.deliver(message)
    worker.finish()
    assert waits.get(timeout=2) == 1
    assert Operation.objects.count() == 1
