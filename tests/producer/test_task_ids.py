"""A task_id of the caller's may be written in any of the ways in which UUIDs are; Celery knows the task by that."""

import uuid

import pytest
from celery.exceptions import TaskRevokedError
from celery.result import AsyncResult
from django.db import transaction

from django_task_safety import NotCommitted, idempotent_task
from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from tests.celery import app
from tests.testapp.tasks import add, record

WAYS = {
    "without hyphens": lambda pk: pk.hex,
    "in capitals": lambda pk: str(pk).upper(),
    "as a URN": lambda pk: pk.urn,
    "in braces": lambda pk: f"{{{pk}}}",
}


@idempotent_task(key="n")
def once(n: int) -> int:
    return n


@pytest.fixture(params=WAYS)
def written(request) -> str:
    return WAYS[request.param](uuid.uuid4())


def outcome(written: str) -> AsyncResult:
    """Return what Celery's result backend knows under the id, as whoever asked for the task wrote it."""
    return AsyncResult(written, app=app)


def test_the_outcome_is_kept_under_the_id_as_it_was_written(worker, written):
    assert add.apply_async((1, 2), task_id=written).id == written
    assert Operation.objects.get().pk == uuid.UUID(written)
    assert worker.deliver_one().value == 3
    assert outcome(written).get(timeout=1) == 3


def test_so_it_is_where_the_message_was_lost(worker, written):
    add.apply_async((1, 2), task_id=written)
    worker.take()
    worker.pass_time(120)
    assert sweeper.sweep().published == 1
    worker.deliver_one()
    assert outcome(written).get(timeout=1) == 3


def test_so_it_is_where_a_message_without_a_row_is_attempted_again(worker, written):
    app.send_task("tests.testapp.tasks.act", ("flaky",), task_id=written)
    worker.drain()
    assert Operation.objects.get().attempt == 3
    assert outcome(written).get(timeout=1) == Operation.objects.get().result


def test_so_it_is_told_of_a_cancel(worker, written):
    record.apply_async(("a",), task_id=written)
    Operation.objects.get().cancel()
    assert sweeper.sweep().notified == 1
    with pytest.raises(TaskRevokedError):
        outcome(written).get(timeout=1)


def test_so_it_is_for_a_duplicate_that_waits_under_an_id_of_its_own(worker, written):
    once.delay(7)
    assert once.apply_async((7,), task_id=written).id == written
    worker.finish()
    assert outcome(written).get(timeout=1) == 7


def test_the_handle_of_a_duplicate_is_that_of_the_first(worker, written):
    once.apply_async((7,), task_id=written)
    assert once.delay(7).id == written


def test_a_rerun_forgets_the_old_outcome_under_that_id(worker, written):
    add.apply_async((1, 2), task_id=written)
    worker.drain()
    operation = Operation.objects.get()
    assert operation.rerun()
    message = worker.take_one()
    assert message.headers["id"] == written
    worker.deliver(message)
    assert outcome(written).get(timeout=1) == 3


def test_waiting_inside_the_transaction_that_enqueued_is_refused_under_that_id(worker, written):
    with transaction.atomic():
        result = add.apply_async((1, 2), task_id=written)
        with pytest.raises(NotCommitted):
            result.get(timeout=1)


def test_the_result_of_apply_has_the_id_as_it_was_written(worker, written):
    assert add.apply((1, 2), task_id=written).id == written
