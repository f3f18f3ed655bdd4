"""What is counted and timed, by OpenTelemetry's API."""

import time
from types import SimpleNamespace

import pytest
from django.db import DatabaseError, connection

from django_task_safety import ledger, safe_task
from django_task_safety.ledger import counts
from django_task_safety.models import Operation
from django_task_safety.values.clock import After
from django_task_safety.worker import sweeper
from tests.support.delivering import statements
from tests.testapp.tasks import act, record


@safe_task(atomic=False)
def loses(how: str) -> None:
    if how == "cancelled":
        Operation.objects.get().cancel()
    elif how == "taken over":
        Operation.objects.update(token=None)


@pytest.mark.parametrize(
    ("action", "counted"),
    [
        ("ok", {"enqueued": 1, "started": 1, "succeeded": 1}),
        ("raise", {"enqueued": 1, "started": 1, "failed": 1}),
        ("flaky", {"enqueued": 1, "started": 3, "retried": 2, "succeeded": 1}),
        ("ignore", {"enqueued": 1, "started": 1, "cancelled": 1}),
    ],
)
def test_each_transition_is_counted(worker, measured, action, counted):
    act.delay(action)
    worker.drain()
    for name in ("enqueued", "started", "succeeded", "retried", "requeued", "failed", "cancelled"):
        assert measured.value("task_safety.transitions", task=act.name, transition=name) == counted.get(name, 0), name


def test_the_time_from_due_to_start_and_that_of_each_attempt_are_measured(worker, measured):
    operation = act.enqueue("sleep", seconds=0.05)
    Operation.objects.filter(pk=operation.pk).update(available_at=After(-7))
    worker.drain()
    if connection.vendor == "postgresql":  # elsewhere the claim reads nothing, and the message says since when
        number, seconds = measured.times("task_safety.start.latency", task=act.name)
        assert (number, 7 <= seconds < 9) == (1, True)
    number, seconds = measured.times("task_safety.run.duration", task=act.name, outcome="succeeded")
    assert (number, 0.05 <= seconds < 2) == (1, True)


def test_a_message_says_since_when_its_operation_is_due(worker, measured, monkeypatch):
    monkeypatch.setattr("django_task_safety.producer.header.time", SimpleNamespace(time=lambda: time.time() - 7))
    act.delay("ok")
    monkeypatch.undo()
    worker.drain()
    number, seconds = measured.times("task_safety.start.latency", task=act.name)
    least = 0 if connection.vendor == "postgresql" else 7
    assert (number, least <= seconds < least + 2) == (1, True)


def test_a_sweep_and_what_it_did_are_counted(worker, measured):
    operation = record.enqueue("a")
    ledger.claim(operation.pk, "dies", 30, None)
    worker.pass_time(31)
    sweeper.sweep()
    assert measured.value("task_safety.sweeps") == 1
    assert measured.value("task_safety.swept", action="requeued") == 1
    assert measured.value("task_safety.swept", action="failed") == 0
    assert measured.value("task_safety.transitions", task=record.name, transition="requeued") == 1


@pytest.mark.parametrize(("how", "fenced"), [("cancelled", 1), ("taken over", 1), ("not", 0)])
def test_an_attempt_that_lost_its_operation_is_counted(worker, measured, how, fenced):
    loses.delay(how)
    worker.drain()
    assert measured.value("task_safety.fenced", task=loses.name) == fenced


def test_the_depth_of_each_queue_is_read_when_somebody_asks(worker, measured):
    first, *_ = record.enqueue_many([("a",)] * 3)
    ledger.claim(first.pk, "w", 30, None)
    assert measured.now("task_safety.queue.depth", queue="celery", state="due") == 2
    assert measured.now("task_safety.queue.depth", queue="celery", state="running") == 1


def test_a_database_that_is_down_is_logged_where_the_depth_is_read(worker, measured, monkeypatch, caplog):
    def down() -> None:
        raise DatabaseError("down")

    monkeypatch.setattr(counts, "groups", down)
    assert measured.now("task_safety.queue.depth", queue="celery", state="due") is None
    assert "the depth of the queues could not be read: DatabaseError: down" in caplog.text


def test_it_costs_no_statement(worker, measured):
    with statements() as found:
        record.delay("x")
        worker.drain()
    assert len(found) == 4  # the insert, the claim, the task's own, the settle
