"""Times mean the same with and without USE_TZ, east and west, and in a database that has a time zone of its own."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from django_task_safety.conf import conf
from django_task_safety.ledger import table
from django_task_safety.models import Operation
from django_task_safety.values import clock
from django_task_safety.worker import sweeper
from tests.celery import app
from tests.support.factories import MachineFactory
from tests.support.operations import only
from tests.testapp.tasks import ACTIONS, act, record

State = Operation.State
ZONES = ("America/New_York", "Asia/Kolkata", "UTC")


@pytest.fixture(params=[(use_tz, zone) for use_tz in (False, True) for zone in ZONES], ids=str)
def worker(request, worker, settings):
    settings.USE_TZ, settings.TIME_ZONE = request.param
    return worker


def seconds_from_now(stored: datetime | None) -> float:
    assert stored is not None
    assert (stored.tzinfo is None) is (timezone.now().tzinfo is None), "as Django gives it to the project"
    return (clock.as_aware(stored) - datetime.now(UTC)).total_seconds()


def in_seconds(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


EXPIRES = {
    "seconds": lambda: 60,
    "a timedelta": lambda: timedelta(seconds=60),
    "an aware datetime": lambda: in_seconds(60),
    "Django's own time": lambda: timezone.now() + timedelta(seconds=60),
}


@pytest.mark.parametrize("kind", EXPIRES)
def test_expires_is_kept_and_holds(worker, kind):
    record.apply_async(("a",), expires=EXPIRES[kind]())
    assert seconds_from_now(only().expires_at) == pytest.approx(60, abs=5)
    worker.drain()
    assert only().state == State.SUCCEEDED
    record.apply_async(("b",), expires=EXPIRES[kind]())
    late = worker.take_one()
    worker.pass_time(61)
    worker.deliver(late)
    assert Operation.objects.get(payload__contains='"b"').state == State.CANCELLED


@pytest.mark.parametrize("kind", ["seconds", "an aware datetime"])
def test_a_message_by_name_that_expires_is_run(worker, kind):
    app.send_task(record.name, ("sent",), expires=EXPIRES[kind]())
    worker.drain()
    assert (only().state, only().error) == (State.SUCCEEDED, "")
    assert seconds_from_now(only().expires_at) == pytest.approx(60, abs=5)


def test_a_message_whose_expiry_names_no_zone_is_read_as_celery_does(worker):
    app.send_task(record.name, ("sent",), expires=60)
    message = worker.take_one()
    message.headers["expires"] = (in_seconds(60).replace(tzinfo=None)).isoformat()
    worker.deliver(message)
    assert only().state == State.SUCCEEDED
    assert seconds_from_now(only().expires_at) == pytest.approx(60, abs=5)


def test_what_the_sweeper_publishes_expires_when_it_was_said(worker):
    record.apply_async(("a",), expires=600)
    worker.take()
    worker.pass_time(conf().REPUBLISH_AFTER + 1)
    assert sweeper.sweep().published == 1
    message = worker.take_one()
    moment = datetime.fromisoformat(message.headers["expires"])
    assert (moment - in_seconds(600 - conf().REPUBLISH_AFTER)).total_seconds() == pytest.approx(0, abs=10)
    worker.deliver(message)
    assert only().state == State.SUCCEEDED


@pytest.mark.parametrize("wait", [5, 7 * 24 * 3600])
@pytest.mark.parametrize("kind", ["countdown", "eta", "Django's own time"])
def test_a_start_in_the_future_is_when_it_was_said(worker, wait, kind):
    start = {"countdown": wait}
    if kind != "countdown":
        now = datetime.now(UTC) if kind == "eta" else timezone.now()
        start = {"eta": now + timedelta(seconds=wait)}
    record.apply_async(("a",), **start)
    assert seconds_from_now(only().available_at) == pytest.approx(wait, abs=5)
    assert worker.take() == [] if wait > 60 else worker.drain()
    worker.finish()
    assert only().state == State.SUCCEEDED


@pytest.mark.parametrize("when", [{"countdown": 40}, {"eta": 40}])
def test_a_retry_comes_when_it_was_said(worker, monkeypatch, when):
    details = {"countdown": 40} if "countdown" in when else {"eta": in_seconds(40)}
    monkeypatch.setitem(ACTIONS, "later", lambda self: retry_once(self, details))
    act.delay("later")
    worker.deliver_one()
    assert only().state == State.QUEUED
    assert seconds_from_now(only().available_at) == pytest.approx(40, abs=5)
    worker.finish()
    assert only().state == State.SUCCEEDED


def retry_once(self, details):
    if self.request.retries == 0:
        raise self.retry(**details)


def test_leases_ends_and_retention_are_now_and_from_now(worker):
    assert seconds_from_now(table.now()) == pytest.approx(0, abs=5)
    with MachineFactory.create().lock("a"):
        held = Operation.all_rows.get(lock="a")
        assert seconds_from_now(held.started_at) == pytest.approx(0, abs=5)
        assert seconds_from_now(held.lease_expires_at) == pytest.approx(conf().LEASE, abs=5)
    record.delay("a")
    worker.drain()
    ended = Operation.objects.get(payload__contains='"a"')
    for moment in (ended.created_at, ended.started_at, ended.ended_at):
        assert seconds_from_now(moment) == pytest.approx(0, abs=5)
    assert seconds_from_now(ended.due_at) == pytest.approx(ended.retention.total_seconds(), abs=3605)
    worker.pass_time(ended.retention + timedelta(hours=2))
    sweeper.sweep()
    assert not Operation.all_rows.filter(pk=ended.pk).exists()


@pytest.mark.parametrize("zone", ZONES)
def test_a_database_may_have_a_time_zone_of_its_own(worker, monkeypatch, settings, zone):
    if connection.vendor == "postgresql" or not settings.USE_TZ:
        pytest.skip("there the connection converts, or Django refuses the setting")
    monkeypatch.setitem(connection.settings_dict, "TIME_ZONE", zone)
    forget_zone()
    try:
        record.apply_async(("a",), countdown=30, expires=60)
        assert seconds_from_now(table.now()) == pytest.approx(0, abs=5)
        assert seconds_from_now(only().created_at) == pytest.approx(0, abs=5)
        assert seconds_from_now(only().available_at) == pytest.approx(30, abs=5)
        assert seconds_from_now(only().expires_at) == pytest.approx(60, abs=5)
        worker.finish()
        assert only().state == State.SUCCEEDED
    finally:
        monkeypatch.undo()
        forget_zone()


def forget_zone() -> None:
    for name in ("timezone", "timezone_name"):
        connection.__dict__.pop(name, None)


@pytest.mark.parametrize(
    ("now", "ahead", "offset"),
    [
        ("2026-03-08T06:59:50", 30, -4 * 3600),  # the clocks are put forward in ten seconds
        ("2026-03-08T06:59:50", 86400, -4 * 3600),
        ("2026-11-01T05:59:50", 30, -4 * 3600),  # back: a lease lasts longer rather than not at all
        ("2026-11-01T05:59:50", 86400, -5 * 3600),
        ("2026-07-01T00:00:00", 30, -4 * 3600),
    ],
)
def test_local_times_of_the_future_are_those_of_the_clock_then(monkeypatch, settings, now, ahead, offset):
    settings.USE_TZ, settings.TIME_ZONE = False, "America/New_York"

    class Then(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.fromisoformat(now).replace(tzinfo=tz)

    monkeypatch.setattr(clock, "datetime", Then)
    assert clock._offset(connection, ahead) == offset
