"""What the database says after the body: a COMMIT that fails, a hook after it, a row that cannot be written."""

import pytest
from django.contrib.auth.models import Permission
from django.db import IntegrityError, OperationalError, connection, connections, transaction
from django.db.transaction import TransactionManagementError

from django_task_safety import DuplicateOperation, TaskSafetyError, idempotent_task, ledger, safe_task
from django_task_safety.models import Operation
from django_task_safety.producer.outcome import IN_DELIVERY
from tests.support.operations import only
from tests.testapp.models import Effect
from tests.testapp.tasks import effect, record

State = Operation.State


@safe_task(max_retries=3, retry_backoff=0.1)
def writes() -> None:
    effect("written")


@safe_task
def breaks_a_deferred_constraint() -> None:
    effect("written")
    Permission.objects.create(content_type_id=1_000_000, codename="orphan", name="orphan")


@safe_task(max_retries=0)
def collides() -> None:
    raise IntegrityError("duplicate key")


@idempotent_task(key="key", max_retries=0)
def collides_by_key(key: str) -> None:
    raise IntegrityError("duplicate key")


@safe_task(bind=True)
def asks_for_another_attempt(self) -> None:
    raise self.retry(countdown=1)


@safe_task
def has_a_bad_hook() -> None:
    def hook() -> None:
        raise ValueError("the hook after the commit")

    transaction.on_commit(hook)


@idempotent_task(key="key", on_duplicate="raise")
def raising(key: str) -> None: ...


def down(*args, **kwargs):
    raise OperationalError("the database is down")


@pytest.fixture
def commit_fails_once(worker, monkeypatch):
    """Fail the first COMMIT of the task's effects, as a server does that goes away just then."""
    database = type(connections["default"])
    commit, failed = database.commit, []

    def fail_once(self):
        if not failed and Effect.objects.exists():
            failed.append(True)
            raise OperationalError("server closed the connection unexpectedly")
        return commit(self)

    monkeypatch.setattr(database, "commit", fail_once)
    return failed


def test_an_attempt_whose_commit_fails_is_tried_again(worker, commit_fails_once):
    writes.delay()
    worker.deliver_one()
    assert commit_fails_once
    assert only().state == State.QUEUED
    assert "server closed the connection" in only().error


def test_work_whose_commit_failed_is_done_once_in_the_end(worker, commit_fails_once):
    writes.delay()
    worker.finish()
    assert (only().state, only().attempt) == (State.SUCCEEDED, 2)
    assert Effect.objects.count() == 1


def test_a_deferred_constraint_broken_at_commit_fails_the_operation(worker):
    result = breaks_a_deferred_constraint.delay()
    worker.drain()
    assert only().state == State.FAILED
    assert "IntegrityError" in only().error
    assert result.state == "FAILURE"
    assert not Effect.objects.exists()


def test_a_copy_of_what_failed_by_a_database_error_answers_at_once(worker):
    pk = collides.apply_async(link_error=record.si("called back")).id
    message = worker.take_one()
    worker.deliver(message)
    worker.take()
    Operation.objects.filter(pk=pk).update(delivered=False)
    worker.pass_time(IN_DELIVERY)
    assert worker.deliver(message).state == "FAILURE"
    assert [again for again in worker.take() if again.headers["id"] == pk] == []


def test_an_explicit_retry_that_cannot_be_recorded_is_no_failure(worker, monkeypatch):
    result = asks_for_another_attempt.delay()
    message = worker.take_one()
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "requeue", down)
        delivery = worker.deliver(message)
    assert delivery.state == "IGNORED"
    assert result.state == "PENDING"


def test_an_exception_in_a_hook_after_the_commit_is_logged(worker, caplog):
    has_a_bad_hook.delay()
    worker.deliver_one()
    assert only().state == State.SUCCEEDED
    assert "the hook after the commit" in caplog.text


def test_a_refused_batch_leaves_the_callers_transaction_usable(worker):
    raising.delay("a")
    with transaction.atomic():
        with pytest.raises(DuplicateOperation):
            raising.enqueue_many([("a",), ("b",)])
        effect("after")
    assert Effect.objects.get().name == "after"


def test_a_call_with_autocommit_off_writes_nothing(worker):
    connection.set_autocommit(False)
    try:
        with pytest.raises(TaskSafetyError, match="Autocommit is off"):
            writes.delay()
        connection.commit()
    finally:
        connection.set_autocommit(True)
    assert not Operation.objects.exists()


def test_an_eager_attempt_whose_end_cannot_be_recorded_lets_no_transaction_around_it_commit(worker, monkeypatch):
    monkeypatch.setattr(ledger, "finish", down)
    with transaction.atomic():
        effect("mine")
        collides.apply()
        with pytest.raises(TransactionManagementError):
            effect("without the first")
    assert Effect.objects.count() == 0
