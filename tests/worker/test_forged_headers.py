"""A message that names an operation runs with that operation's arguments, whatever it brings itself."""

import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from django_task_safety import idempotent_task, safe_task
from django_task_safety.models import Operation
from tests.celery import app
from tests.support.delivering import about_operations, statements
from tests.support.factories import NoteFactory
from tests.support.ids import label
from tests.support.operations import only
from tests.testapp.models import Effect
from tests.testapp.tasks import double, effect

State = Operation.State


@idempotent_task(key="n")
def counted(n: int) -> int:
    effect("counted", n)
    return n


@safe_task(bind=True)
def tells_its_arguments(self: Any, value: object, other: object = None) -> list[Any]:
    return [value, self.request.args, self.request.kwargs]


@safe_task
def takes(value: object) -> None:
    effect("takes")


@safe_task(bind=True, max_retries=3, retry_backoff=5)
def twice(self: Any, value: int) -> int:
    if self.request.retries == 0:
        raise ConnectionError("not yet")
    return value


@pytest.fixture
def operation(worker) -> Operation:
    """A pending operation whose message was lost."""
    pending = counted.enqueue(111)
    worker.take()
    return pending


def ran() -> list[str]:
    return list(Effect.objects.values_list("key", flat=True))


def finished(operation: Operation) -> Any:
    operation.refresh_from_db()
    assert operation.state == State.SUCCEEDED
    return operation.result


@pytest.mark.parametrize(
    "said", [{}, {"rev": 0, "att": 0}, {"rev": 0, "att": 0, "sig": "0" * 64}, {"sig": 5}], ids=label
)
def test_a_forged_header_runs_the_operation_with_its_own_arguments(worker, operation, caplog, said):
    header = {"op": str(operation.pk), **said}
    app.send_task(counted.name, (666,), task_id=str(uuid.uuid4()), headers={"task_safety": header})
    worker.deliver_one()
    assert finished(operation) == 111
    assert ran() == ["111"]
    assert "not as it was published" in caplog.text


def test_the_header_of_another_message_runs_the_operation_with_its_own_arguments(worker, operation):
    counted.enqueue(222)
    header = {**worker.take_one().headers["task_safety"], "op": str(operation.pk)}
    app.send_task(counted.name, (222,), headers={"task_safety": header})
    worker.deliver_one()
    assert finished(operation) == 111


def test_a_message_by_name_under_the_id_of_an_operation_runs_it_with_its_own_arguments(worker, operation):
    app.send_task(counted.name, (666,), task_id=str(operation.pk))
    worker.drain()
    assert finished(operation) == 111
    assert ran() == ["111"]


def test_the_header_of_a_message_that_was_published_does_not_serve_for_other_arguments(worker):
    pending = double.enqueue(4)
    message = worker.take_one()
    app.send_task(double.name, (5,), task_id=str(pending.pk), headers={"task_safety": message.headers["task_safety"]})
    worker.drain()
    assert finished(pending) == 8


@pytest.mark.parametrize(
    "said", [{"waits_for": str(uuid.UUID(int=1))}, {"max": 1}, {"key": "x"}, {"gen": 7}], ids=label
)
def test_what_a_header_says_of_the_row_is_not_believed_when_it_was_changed(worker, said):
    pending = twice.enqueue(5)
    message = worker.take_one()
    message.headers["task_safety"] = {**message.headers["task_safety"], **said}
    worker.deliver(message)
    worker.drain()
    assert finished(pending) == 5


def test_an_attempt_with_the_rows_arguments_shows_them_to_its_task(worker):
    pending = tells_its_arguments.enqueue("its own", other=2)
    worker.take()
    app.send_task(tells_its_arguments.name, ("forged",), headers={"task_safety": {"op": str(pending.pk)}})
    worker.deliver_one()
    assert finished(pending) == ["its own", ["its own"], {"other": 2}]


VALUES = [
    *(1, 2.5, float("inf"), "text \N{SNOWMAN}", None, True, [1, [2]], (1, 2), {"b": 1, "a": {"d": [1], "c": 2}}),
    *(Decimal("1.50"), uuid.UUID(int=5), date(2024, 2, 29), timedelta(days=1).total_seconds()),
    *(datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=UTC), datetime(2024, 1, 2, 3, 4, 5), b"bytes", {1: "a", 2: "b"}),
]


@pytest.mark.parametrize("value", VALUES, ids=label)
def test_a_message_as_it_was_published_costs_no_look_at_the_row(worker, value):
    takes.delay(value)
    message = worker.take_one()
    with statements() as found:
        worker.deliver(message)
    assert only().state == State.SUCCEEDED, only().error
    assert len(about_operations(found)) == 2, found


def test_a_message_with_an_object_costs_no_look_at_the_row(worker):
    takes.delay(NoteFactory())
    message = worker.take_one()
    with statements() as found:
        worker.deliver(message)
    assert len(about_operations(found)) == 2, found


def test_messages_of_later_attempts_and_copies_cost_no_look_at_the_row(worker):
    twice.delay(5)
    worker.deliver_one()
    message = worker.take_one()
    worker.deliver(message)  # too early: it is published again
    worker.pass_time(10)
    message = worker.take_one()
    with statements() as found:
        worker.deliver(message)
    assert only().result == 5
    assert len(about_operations(found)) == 2, found


def test_a_message_from_before_the_secret_key_was_changed_runs(worker, settings):
    pending = double.enqueue(4)
    settings.SECRET_KEY = "another"
    worker.drain()
    assert finished(pending) == 8


def test_a_forged_header_costs_one_look_at_the_row(worker, operation):
    app.send_task(counted.name, (666,), headers={"task_safety": {"op": str(operation.pk), "rev": 0, "att": 0}})
    message = worker.take_one()
    with statements() as found:
        worker.deliver(message)
    # Elsewhere the claim reads before it writes, arguments included.
    assert len(about_operations(found)) == 3, (connection.vendor, found)
