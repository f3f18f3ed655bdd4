"""What the sweeper and the workers make of poison, removed tasks, clocks that differ, and leases nobody renews."""

import struct
import threading
import time
import uuid
from datetime import datetime, timedelta

import pytest
from celery import chord
from django.db import OperationalError
from kombu import Producer

from django_task_safety import current_operation, ledger, safe_task
from django_task_safety.ledger import heartbeat, worker_id
from django_task_safety.models import Operation
from django_task_safety.producer import outbox
from django_task_safety.values.clock import Now
from django_task_safety.worker import attempt as attempts
from django_task_safety.worker import keeper, sweeper
from tests.testapp.tasks import record, total

State = Operation.State
#: The operations whose leases were renewed.
renewed: list[uuid.UUID] = []


@safe_task
def quick(n: int = 0) -> int:
    return n


@safe_task(atomic=False)
def waits_for_a_renewal() -> bool:
    until = time.monotonic() + 5
    while current_operation().pk not in renewed and time.monotonic() < until:
        time.sleep(0.05)
    return current_operation().pk in renewed


@safe_task(atomic=False)
def runs_another_in_place() -> bool:
    return waits_for_a_renewal.apply().get()


@safe_task(max_retries=0)
def cancels_itself_by_query_and_reports() -> None:
    Operation.objects.filter(pk=current_operation().pk).cancel()
    current_operation().report(0.5)


def as_rabbitmq(publish):
    """The broker in memory takes every priority; AMQP has a byte for it."""

    def packed(self, *args, priority=None, **kwargs):
        struct.pack("B", priority or 0)
        return publish(self, *args, priority=priority, **kwargs)

    return packed


@pytest.fixture
def outage(monkeypatch):
    """Claims fail."""

    def down(*args, **kwargs):
        raise OperationalError("the database is down")

    monkeypatch.setattr(ledger, "claim", down)


@pytest.fixture
def spoilt(worker):
    """Four queued operations whose messages were lost; the first is the one to spoil."""
    rows = [quick.enqueue(n) for n in range(4)]
    worker.take()
    return Operation.objects.filter(pk=rows[0].pk)


@pytest.mark.parametrize(
    "change",
    [
        {"options": '{"serializer": "nope"}'},
        {"payload": "!application/x-nope!utf-8!AAAA"},
        {"options": '{"priority": 256}'},
    ],
    ids=["serializer", "payload", "priority"],
)
def test_an_operation_that_can_never_be_published_does_not_hold_up_the_others(worker, spoilt, change, monkeypatch):
    monkeypatch.setattr(Producer, "publish", as_rabbitmq(Producer.publish))
    spoilt.update(**change)
    worker.pass_time(100)
    sweeper.sweep()
    assert len(worker.take()) == 3


def test_an_operation_whose_message_can_never_be_published_fails(worker, spoilt):
    spoilt.update(options='{"serializer": "nope"}')
    worker.pass_time(100)
    sweeper.sweep()
    assert spoilt.get().state == State.FAILED


def test_the_sweeper_looks_less_and_less_at_the_row_of_a_task_that_no_longer_exists(worker, caplog):
    record.delay("a")
    worker.take()
    Operation.objects.update(task="removed.task")
    for _ in range(60):
        worker.pass_time(5.1)
        sweeper.sweep()
    said = [line for line in caplog.records if "not registered" in line.getMessage()]
    assert 1 <= len(said) <= 4


def test_a_sweeper_whose_clock_is_behind_publishes_what_is_due(worker, monkeypatch):
    class Behind(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) - timedelta(seconds=120)

    record.delay("a")
    worker.take()
    worker.pass_time(61)
    Operation.objects.update(available_at=Now())
    monkeypatch.setattr(outbox, "datetime", Behind, raising=False)
    sweeper.sweep()
    assert len(worker.take()) == 1


def test_an_operation_rescued_from_a_lost_worker_is_published_once(worker):
    operation = record.enqueue("a")
    worker.take()
    ledger.claim(operation.pk, "a worker that dies", 1, None)
    worker.pass_time(10)
    sweeper.sweep()
    assert len(worker.take()) == 1


def test_an_operation_run_in_place_by_a_workers_task_keeps_its_lease(worker, settings, monkeypatch):
    settings.TASK_SAFETY = {"LEASE": 0.6}
    monkeypatch.setattr(worker_id, "_worker", "a worker")
    monkeypatch.setattr(heartbeat, "renew", lambda pks, lease: renewed.extend(pks) or heartbeat.Renewal(lease / 3))
    # The one of this process may still wait as long as the usual lease says.
    monkeypatch.setattr(attempts, "heartbeat", heartbeat.Heartbeat())
    operation = runs_another_in_place.enqueue()
    worker.deliver_one()
    assert Operation.objects.get(pk=operation.pk).result is True


def test_a_long_sweep_does_not_hold_up_the_renewal_of_leases(monkeypatch, settings):
    settings.TASK_SAFETY = {"LEASE": 0.6, "SWEEP_INTERVAL": 0.1}
    renewals, swept = [], threading.Event()

    def sweep():
        before = len(renewals)
        time.sleep(1.5)
        renewals.append(f"{len(renewals) - before} during a sweep")
        swept.set()

    monkeypatch.setattr(keeper, "renew_running", lambda: renewals.append("renewed"))
    monkeypatch.setattr(sweeper, "sweep", sweep)
    at_work = keeper.Keeper()
    at_work.start()
    assert swept.wait(20)
    at_work.stop()
    (during,) = [int(line.split()[0]) for line in renewals if line.endswith("a sweep")][:1]
    assert during >= 3


@pytest.mark.timeout(30)
def test_a_body_that_changed_its_own_row_may_still_report(worker):
    cancels_itself_by_query_and_reports.delay()
    worker.deliver_one()
    assert Operation.objects.get().state == State.CANCELLED


def test_the_first_member_of_a_chord_keeps_its_index_through_an_outage(worker, outage):
    chord([quick.s(1), quick.s(2)])(total.s())
    (first,) = [message for message in worker.take() if message.headers["group_index"] == 0]
    worker.deliver(first)
    assert worker.take_one().headers["group_index"] == 0


def test_a_message_keeps_its_stamps_and_ignored_result_through_an_outage(worker, outage):
    quick.s(1).stamp(customer="x").apply_async(ignore_result=True)
    message = worker.take_one()
    worker.deliver(message)
    again = worker.take_one().headers
    assert (again["ignore_result"], again["stamps"]) == (True, message.headers["stamps"])


def test_the_keeper_says_why_it_failed_each_time_and_shows_where_once(monkeypatch, caplog):
    outcomes = iter(["no such table", "no such table", None, "no such table", "gone"])

    def tick() -> None:
        outcome = next(outcomes, "end")
        if outcome == "end":
            loop.stop()
        elif outcome:
            raise OperationalError(outcome)

    loop = keeper._Loop("the sweeper", lambda: 0.0, tick)
    monkeypatch.setattr(loop, "stop", loop._stopped.set)
    loop.thread.start()
    loop.thread.join(10)
    said = [(record.getMessage(), bool(record.exc_info)) for record in caplog.records]
    failed = "the sweeper failed and will be tried again: OperationalError: {}".format
    assert said == [
        (failed("no such table"), True), (failed("no such table"), False), (failed("no such table"), True),
        (failed("gone"), True),
    ]  # fmt: skip
