"""A queue is measured by one worker at a time: over what it started of late, or by a message of its own."""

import datetime
from types import SimpleNamespace

import pytest
from celery import Task
from django.db import DatabaseError
from kombu import Exchange
from kombu import Queue as BrokerQueue
from kombu.common import Broadcast

from django_task_safety import ledger, safe_task
from django_task_safety.models import Operation, Queue
from django_task_safety.producer import broker
from django_task_safety.registry import safe_task_names
from django_task_safety.values.clock import After, Now
from django_task_safety.worker import presence, queues
from tests.celery import app
from tests.support.delivering import elsewhere, statements
from tests.testapp.tasks import record

NAME = "celery"


@safe_task(retention=datetime.timedelta(days=1))
def kept_for_a_day() -> None: ...


def look() -> None:
    """Measure, some time after the last measurement."""
    Queue.objects.update(measured_at=After(-60))
    queues.look_after(app, [NAME])


def row() -> Queue:
    return Queue.objects.get()


def pass_time(seconds: float) -> None:
    moment = row().heartbeat_sent - datetime.timedelta(seconds=seconds)
    Queue.objects.update(heartbeat_sent=moment)


def run(worker, seconds: list[float]) -> None:
    """Have operations started so many seconds after they were due."""
    for each in seconds:
        operation = record.enqueue("a")
        Operation.objects.filter(pk=operation.pk).update(available_at=After(-each))
    worker.drain()


def test_a_queue_that_moves_is_measured_from_due_to_start_and_gets_no_heartbeat(worker):
    run(worker, [1, 2, 3, 50])
    look()
    measured = row()
    assert 2 <= measured.latency_p50 < 3
    assert 50 <= measured.latency_p95 < 51
    assert (worker.take(), measured.heartbeat_sent) == ([], None)


@pytest.mark.parametrize("kept", [None, 3600])
def test_it_is_measured_however_long_operations_are_kept(worker, settings, kept):
    settings.TASK_SAFETY = {"RETENTION": kept}
    run(worker, [5])
    look()
    assert 5 <= row().latency_p50 < 6


def test_operations_that_are_kept_for_another_time_and_those_that_run_count_as_well(worker):
    kept_for_a_day.delay()
    worker.drain()
    ledger.claim(record.enqueue("a").pk, "w", 30, None)
    look()
    assert row().latency_p50 < 1
    assert len(queues._started(datetime.datetime.now(datetime.UTC))[NAME]) == 2


def test_what_was_started_long_ago_says_nothing(worker):
    run(worker, [5])
    worker.pass_time(400)
    look()
    assert (row().latency_p50, row().latency_p95) == (None, None)


def test_a_quiet_queue_gets_a_heartbeat_and_whoever_takes_it_writes_how_long_that_took(worker):
    look()
    assert (row().heartbeat, row().heartbeat_arrived) == (None, None)
    pass_time(20)
    message = worker.take_one()
    assert message.headers["task"] == "django_task_safety.heartbeat"
    with statements() as found:
        worker.deliver(message)
    assert len(found) == 1
    took = row().heartbeat
    assert datetime.timedelta(seconds=20) <= took < datetime.timedelta(seconds=25)
    worker.deliver(message)
    assert row().heartbeat == took
    assert not Operation.all_rows.exists()


def test_one_is_on_its_way_at_most_until_it_has_expired(worker):
    look()
    pass_time(500)
    look()
    (message,) = worker.take()
    assert message.headers["expires"] is not None
    pass_time(200)
    look()
    assert len(worker.take()) == 1


def test_the_next_one_follows_a_minute_after_one_that_arrived(worker):
    look()
    worker.drain()
    look()
    assert worker.take() == []
    pass_time(61)
    look()
    assert len(worker.take()) == 1


def test_one_that_the_broker_did_not_take_is_sent_when_it_does(worker, monkeypatch):
    def down(app):
        raise ConnectionError("down")

    with monkeypatch.context() as patch:
        patch.setattr(broker, "broker_connection", down)
        look()
    assert row().heartbeat_sent is None
    look()
    assert len(worker.take()) == 1


def test_of_several_workers_one_measures(worker):
    look()
    worker.take()
    Queue.objects.update(measured_at=After(-60), heartbeat_sent=None)
    seen = {one.pk: one for one in Queue.objects.annotate(_now=Now())}
    assert queues._take(NAME, seen[NAME])
    assert not elsewhere(lambda: queues._take(NAME, seen[NAME]))
    with statements() as found:
        queues.look_after(app, [NAME])
    assert len(found) == 1


def test_a_queue_that_nobody_measures_any_more_is_forgotten(worker):
    look()
    queues.forget_the_unused()
    assert Queue.objects.exists()
    Queue.objects.update(measured_at=After(-100_000))
    queues.forget_the_unused()
    assert not Queue.objects.exists()


def test_the_heartbeat_is_a_plain_task_of_every_app():
    from celery import Celery

    class Odd(Task):
        abstract = True

    other = Celery("other", task_cls=Odd, set_as_current=False)
    other.finalize()
    found = other.tasks[queues.HEARTBEAT]
    assert not isinstance(found, Odd)
    assert (found.ignore_result, found.acks_late, found.send_events) == (True, False, False)
    assert queues.HEARTBEAT not in safe_task_names()


def test_a_heartbeat_that_cannot_be_noted_is_logged(worker, monkeypatch, caplog):
    def down() -> None:
        raise DatabaseError("down")

    look()
    monkeypatch.setattr(queues, "queues", down)
    assert worker.deliver_one().state == "SUCCESS"
    assert "could not be noted: DatabaseError: down" in caplog.text


@pytest.mark.django_db
def test_queues_that_belong_to_one_worker_get_no_heartbeat(monkeypatch):
    looked: list[object] = []
    monkeypatch.setattr(queues, "look_after", lambda app, names: looked.append(names))
    consumed = {
        "mail": BrokerQueue("mail", Exchange("mail", type="direct")),
        "own": BrokerQueue("own", exclusive=True),
        "all": Broadcast("all"),
    }
    amqp = SimpleNamespace(queues=SimpleNamespace(consume_from=consumed))
    pool = SimpleNamespace(num_processes=1)
    consumer = SimpleNamespace(app=SimpleNamespace(amqp=amqp, conf=app.conf), hostname="w", pool=pool)
    presence.Presence(consumer).look_around()
    assert looked == [["mail"]]


@pytest.mark.parametrize("name", ["q" * 300, "a\x00b", "a\ud800b"])
def test_a_queue_whose_name_no_row_can_hold_keeps_no_other_from_being_measured(worker, name):
    queues.look_after(worker.app, [name, NAME])
    assert [one.name for one in queues.queues()] == [NAME]
