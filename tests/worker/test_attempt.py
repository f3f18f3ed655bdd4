"""One attempt, delivered by a worker: the body and its outcome are one transaction, and every end is recorded."""

import uuid
from collections.abc import Callable
from datetime import datetime

import pytest
from django.db import connection, transaction

from django_task_safety import current_operation, safe_task
from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from tests.support.delivering import about_operations, statements
from tests.support.operations import only
from tests.testapp.models import Effect
from tests.testapp.tasks import act, charge, effect, record

State = Operation.State
#: What the body of `does` does.
DO: list[Callable[..., object]] = []


@safe_task(bind=True, max_retries=2, retry_backoff=0.01)
def does(self, *args: object) -> object:
    effect("does", args)
    return DO[0](self, *args)


@safe_task(bind=True, atomic=False, max_retries=0)
def does_outside(self) -> object:
    effect("outside")
    return DO[0](self)


@pytest.fixture
def does_this(monkeypatch) -> Callable[[Callable[..., object]], None]:
    return lambda body: monkeypatch.setattr("tests.worker.test_attempt.DO", [body])


def test_an_attempt_is_one_statement_to_claim_and_one_to_settle(worker):
    record.delay("a")
    message = worker.take_one()
    with statements() as found:
        worker.deliver(message)
    touched = about_operations(found)
    assert len(touched) == 2, touched
    assert len(found) == 3, found


@pytest.mark.django_db
def test_the_table_has_no_index_and_no_check_that_nothing_needs():
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, Operation._meta.db_table)
    needed = [("created_at", "id"), ("due_at",), ("id",), ("key_digest",), ("lock_slot",)]
    needed += [("parent_id", "state", "id"), ("requested_by", "id"), ("state", "created_at", "id")]
    needed += [("subject_label", "subject_id", "state")]
    assert sorted(tuple(constraint["columns"]) for constraint in found.values()) == needed


def test_the_row_of_an_operation_tells_what_happened(worker):
    result = act.delay("ok", 1, size=3)
    delivery = worker.deliver_one()
    operation = only()
    assert delivery.state == "SUCCESS"
    assert delivery.acknowledged
    assert (operation.state, operation.attempt, operation.result) == (State.SUCCEEDED, 1, {"size": 3})
    assert operation.created_at <= operation.started_at <= operation.ended_at
    assert (operation.error, operation.traceback, operation.progress) == ("", "", 1.0)
    assert operation.worker
    assert operation.lease_expires_at is None
    assert result.get(timeout=1) == {"size": 3}


def test_the_row_says_that_an_operation_runs_and_the_body_knows_its_operation(worker, does_this):
    def body(self):
        operation = current_operation()
        assert (operation.pk, operation.attempt) == (uuid.UUID(self.request.id), 1)
        assert operation.idempotency_key
        assert (only().state, only().attempt) == (State.RUNNING, 1)
        assert only().lease_expires_at > only().started_at
        return operation.idempotency_key

    does_this(body)
    does.delay()
    worker.drain()
    assert only().result == only().idempotency_key, only().error
    assert current_operation() is None


def test_what_a_failed_attempt_wrote_is_rolled_back(worker):
    result = act.delay("raise", message="it broke")
    delivery = worker.deliver_one()
    operation = only()
    assert delivery.state == "FAILURE"
    assert delivery.acknowledged
    assert (operation.state, operation.error) == (State.FAILED, "ValueError: it broke")
    assert "Traceback" in operation.traceback
    assert "_raise" in operation.traceback
    assert operation.ended_at is not None
    assert not Effect.objects.exists()
    with pytest.raises(ValueError, match="it broke"):
        result.get(timeout=1)


def test_without_atomic_the_body_runs_outside_a_transaction_and_keeps_its_writes(worker, does_this):
    def body(self):
        assert not connection.in_atomic_block
        raise ValueError("no")

    does_this(body)
    does_outside.delay()
    worker.drain()
    assert (only().state, only().error) == (State.FAILED, "ValueError: no")
    assert Effect.objects.count() == 1


def test_with_atomic_the_body_runs_inside_a_transaction(worker, does_this):
    does_this(lambda self: connection.in_atomic_block)
    does.delay()
    worker.drain()
    assert only().result is True


def test_a_commit_hook_that_raises_does_not_lose_the_success(worker, does_this):
    ran: list[str] = []

    def fail() -> None:
        ran.append("hook")
        raise ValueError("after the commit")

    def body(self):
        transaction.on_commit(fail)
        return "done"

    does_this(body)
    result = does.delay()
    delivery = worker.deliver_one()
    assert (only().state, only().result, only().attempt) == (State.SUCCEEDED, "done", 1)
    assert (delivery.state, delivery.acknowledged) == ("SUCCESS", True)
    assert ran == ["hook"]
    assert worker.take() == []
    assert Effect.objects.count() == 1
    assert result.get(timeout=1) == "done"


def test_calls_that_a_failed_attempt_made_are_not_run(worker, does_this):
    def body(self):
        record.delay("child")
        raise ValueError("no")

    does_this(body)
    does.delay()
    worker.drain()
    assert [operation.task for operation in Operation.objects.all()] == [does.name]
    assert not Effect.objects.filter(name="child").exists()


def test_a_body_that_broke_its_transaction_fails_cleanly(worker, does_this):
    def body(self):
        transaction.set_rollback(True)
        return "looks fine"

    does_this(body)
    does.delay()
    worker.drain()
    assert only().state == State.FAILED
    assert not Effect.objects.exists()


def test_a_plain_call_is_a_plain_call(worker):
    assert charge(5, 2) == 2
    assert not Operation.all_rows.exists()
    assert Effect.objects.filter(name="charge").count() == 1


def test_a_plain_call_inside_a_task_is_not_the_running_operation(worker, does_this):
    does_this(lambda self: [inner(), current_operation() is None])
    does.delay()
    worker.drain()
    assert only().result == [True, False]


@safe_task
def inner() -> bool:
    return current_operation() is None


def test_the_running_operation_knows_everything_of_its_row(worker, does_this):
    def body(self):
        operation = current_operation()
        assert operation.state == State.RUNNING
        assert operation.is_pending
        assert operation.task == does.name
        assert operation.created_at <= operation.started_at
        assert operation.created_at
        return str(operation)

    does_this(body)
    does.delay()
    worker.drain()
    assert only().state == State.SUCCEEDED, only().error


def test_a_child_knows_its_parent_and_root(worker, does_this):
    does_this(lambda self: record.delay("child").id)
    parent = does.delay().id
    worker.deliver_one()
    headers = worker.take_one().headers
    assert (headers["parent_id"], headers["root_id"]) == (parent, parent)


def test_the_result_of_a_task_with_ignore_result_is_still_in_the_row(worker, does_this):
    does_this(lambda self: 5)
    result = does.apply_async(ignore_result=True)
    worker.drain()
    assert only().result == 5
    assert result.state == "PENDING"


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "America/Chicago", "UTC"])
def test_an_operation_runs_without_use_tz(worker, settings, zone):
    settings.USE_TZ, settings.TIME_ZONE = False, zone
    record.delay("now")
    record.apply_async(("soon",), countdown=5)
    messages = worker.take()
    assert len(messages) == 2
    assert [worker.deliver(message).state for message in messages] == ["SUCCESS", "IGNORED"]
    now, soon = only_named("now"), only_named("soon")
    assert abs((now.ended_at - datetime.now()).total_seconds()) < 60
    assert 4 < (soon.available_at - soon.created_at).total_seconds() < 6
    assert not sweeper.sweep()


def only_named(name: str) -> Operation:
    return Operation.objects.get(payload__contains=name)
