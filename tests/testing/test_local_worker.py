"""The fixture ``task_safety``: a project's tasks run by the real protocol, in the test's process."""

from datetime import timedelta

import pytest
from celery import chain, chord, group
from celery.result import AsyncResult
from django.db import transaction
from django.test import TestCase, TransactionTestCase

from django_task_safety.models import Operation
from django_task_safety.testing import LocalWorker
from tests.celery import app
from tests.support.delivering import undone
from tests.support.factories import NoteFactory
from tests.testapp.models import Effect, Note, Order
from tests.testapp.tasks import act, add, charge, copy_note, poison, record, total

State = Operation.State


@pytest.fixture(params=["db", "transactional_db"])
def safety(request):
    """The fixture, in a test that is rolled back and in one that commits."""
    request.getfixturevalue(request.param)
    return request.getfixturevalue("task_safety")


def effects() -> int:
    return Effect.objects.count()


def test_what_is_due_runs_once(safety):
    record.delay("a")
    (ran,) = safety.run()
    assert (ran.state, ran.attempt, effects()) == (State.SUCCEEDED, 1, 1)
    assert safety.run() == []
    assert safety.enqueued == [ran]


def test_what_was_there_before_the_test_is_not_its_own(safety):
    with LocalWorker() as later:
        old = record.enqueue("a")
    with LocalWorker() as later:
        new = record.enqueue("b")
        assert later.enqueued == [new]
    assert safety.enqueued == [old, new]


def test_oldest_first_whatever_became_of_them(safety):
    first, second, third = record.enqueue("a"), act.enqueue("raise"), record.enqueue("c")
    third.cancel()
    safety.drain()
    assert [one.pk for one in safety.enqueued] == [first.pk, second.pk, third.pk]


def test_a_retry_is_the_next_attempt_after_its_wait(safety):
    operation = act.enqueue("flaky", until=2)
    (ran,) = safety.run()
    assert (ran.state, ran.attempt) == (State.QUEUED, 1)
    assert safety.run() == []
    safety.travel(3600)
    (ran,) = safety.run()
    assert (ran.pk, ran.state, ran.attempt) == (operation.pk, State.SUCCEEDED, 2)


def test_draining_goes_on_over_retries_and_schedules(safety):
    act.enqueue("flaky", until=3)
    record.apply_async(("later",), countdown=86_400)
    drained = safety.drain()
    assert [(one.state, one.attempt) for one in drained] == [(State.SUCCEEDED, 3), (State.SUCCEEDED, 1)]


def test_draining_that_never_ends_is_a_failure(safety, monkeypatch):
    monkeypatch.setattr("django_task_safety.testing.local_worker.LONGEST_DRAIN", 3)
    act.enqueue("flaky", until=3)
    with pytest.raises(AssertionError, match="still pending after 3 steps"):
        safety.drain()


def test_a_chain_and_a_chord_run_to_their_end(safety):
    chain(add.s(1, 2), add.s(10)).delay()
    chord(group(add.s(n, 100) for n in range(3)), total.s()).delay()
    safety.drain()
    results = {one.task.rpartition(".")[2]: one.result for one in safety.enqueued}
    assert results["add"] is not None
    assert results["total"] == 303
    assert 13 in [one.result for one in safety.enqueued]


def test_a_result_handle_has_the_result(safety):
    handle = add.delay(2, 3)
    safety.run()
    assert handle.get(timeout=1) == 5
    assert handle.state == "SUCCESS"


def test_the_apps_own_result_backend_is_back_after_the_test(db):
    before = add.backend
    with LocalWorker():
        assert add.backend is not before
    assert add.backend is before
    assert isinstance(AsyncResult("x", app=app).backend, type(before))


def test_hooks_of_a_commit_that_never_comes_are_called(db, task_safety):
    with transaction.atomic():
        transaction.on_commit(lambda: record.delay("hook"))
    assert [one.state for one in task_safety.run()] == [State.SUCCEEDED]
    assert effects() == 1


def test_nothing_runs_of_a_transaction_that_is_rolled_back(safety):
    with undone():
        record.delay("a")
    assert safety.drain() == []
    assert effects() == 0


def test_delivered_twice_it_runs_once(safety):
    Order.objects.create(number=7, amount=1)
    charge.delay(7)
    safety.deliver_twice()
    assert Order.objects.get().charged == 1
    assert effects() == 1


def test_a_lost_worker_leaves_it_running_and_another_one_does_it(safety):
    record.delay("a")
    (lost,) = safety.lose_worker()
    assert (lost.state, lost.attempt, effects()) == (State.RUNNING, 1, 0)
    assert safety.run() == []
    safety.expire_leases()
    (ran,) = safety.run()
    assert (ran.state, ran.attempt, effects()) == (State.SUCCEEDED, 2, 1)


def test_workers_that_are_always_lost_end_in_failure(safety):
    poison.delay()
    for _ in range(2):
        safety.lose_worker()
        safety.expire_leases()
    (failed,) = safety.enqueued
    assert failed.state == State.FAILED
    assert "WorkerLost" in failed.error


def test_time_passes_for_what_expires_and_what_is_scheduled(safety):
    expiring = record.apply_async(("a",), countdown=60, expires=30)
    later = record.apply_async(("b",), countdown=timedelta(hours=1).total_seconds())
    safety.travel(timedelta(hours=2))
    safety.drain()
    assert Operation.objects.get(pk=expiring.id).state == State.CANCELLED
    assert Operation.objects.get(pk=later.id).state == State.SUCCEEDED


def test_an_object_that_is_gone_cancels(safety):
    note = NoteFactory()
    copy_note.delay(note)
    Note.objects.filter(pk=note.pk).delete()
    assert [one.state for one in safety.run()] == [State.CANCELLED]


def test_no_broker_is_connected_to(safety, monkeypatch):
    monkeypatch.setattr("django_task_safety.producer.broker.new_pool", lambda app: pytest.fail("a broker was used"))
    app.amqp.__dict__.pop("_producer_pool", None)
    record.delay("a")
    assert len(safety.run()) == 1


class InDjangosTestCase(TestCase):
    def test_an_operation_runs_in_a_test_that_is_rolled_back(self):
        with LocalWorker() as worker:
            record.delay("a")
            assert [one.state for one in worker.run()] == [State.SUCCEEDED]


class InDjangosTransactionTestCase(TransactionTestCase):
    def test_an_operation_runs_in_a_test_that_commits(self):
        with LocalWorker() as worker:
            record.delay("a")
            assert [one.state for one in worker.run()] == [State.SUCCEEDED]
