"""A worker says of itself what it is, as long as it is there."""

import io
from types import SimpleNamespace

import pytest
from celery.concurrency.solo import TaskPool
from celery.concurrency.thread import TaskPool as ThreadPool
from django.core.management import call_command
from django.db import DatabaseError

from django_task_safety.fleet.this_side import fingerprint, this_side
from django_task_safety.ledger import worker_id
from django_task_safety.models import Worker
from django_task_safety.overview import overview
from django_task_safety.registry import safe_task_names
from django_task_safety.values.clock import After, Now
from django_task_safety.worker import hooks, presence
from django_task_safety.worker.keeper import Keeper
from django_task_safety.worker.presence import Presence
from tests.celery import app
from tests.support.delivering import statements
from tests.support.factories import WorkerFactory
from tests.support.workers import until

pytestmark = pytest.mark.django_db


def consumer(pool: object = None) -> SimpleNamespace:
    return SimpleNamespace(app=app, hostname="w@host", pool=pool or TaskPool(app=app, limit=1))


def test_it_says_who_it_is_what_it_runs_and_what_it_knows():
    Presence(consumer()).say()
    row, side = Worker.objects.get(), this_side(app)
    assert (row.identity, row.name, row.pool, row.concurrency) == (worker_id.me(), "w@host", "solo", 1)
    assert (row.package, row.celery, row.django, row.settings) == (
        *(side.package, side.celery, side.django),
        side.settings,
    )
    assert (row.queues, row.tasks, row.last_sweep) == (["celery"], safe_task_names(), None)
    assert overview().problems == ["Nobody sweeps: what is lost is not published again."]


def test_a_pool_is_called_as_the_option_of_celery_calls_it():
    pool = ThreadPool(app=app, limit=3)
    Presence(consumer(pool)).say()
    assert (Worker.objects.get().pool, Worker.objects.get().concurrency) == ("threads", 3)


def test_each_further_time_is_one_statement_and_says_what_has_changed():
    at_work = Presence(consumer())
    at_work.say()
    Worker.objects.update(last_seen=After(-60))
    app.amqp.queues.select_add("mail")
    at_work.note_sweep()
    try:
        with statements() as found:
            at_work.say()
    finally:
        app.amqp.queues.deselect("mail")
    assert len(found) == 1
    (status,) = overview().workers
    assert (status.alive, status.queues) == (True, ["celery", "mail"])
    assert status.last_sweep is not None


def test_with_too_many_tasks_to_name_it_names_none(monkeypatch):
    monkeypatch.setattr(presence, "_TASKS", 1)
    Presence(consumer()).say()
    assert Worker.objects.get().tasks is None


def test_a_row_that_somebody_took_away_comes_back():
    at_work = Presence(consumer())
    at_work.say()
    Worker.objects.all().delete()
    at_work.say()
    assert Worker.objects.count() == 1


def test_those_that_are_long_dead_are_forgotten():
    WorkerFactory(silent=100_000)
    WorkerFactory(silent=3600)
    Presence(consumer()).say()
    assert Worker.objects.count() == 2


def test_a_keeper_says_it_at_once_also_where_it_does_not_sweep_and_takes_it_back(transactional_db, settings):
    settings.TASK_SAFETY = {"KEEPER": False}
    keeper = Keeper(consumer())
    keeper.start()
    until(Worker.objects.exists)
    keeper.stop()
    assert not Worker.objects.exists()


def test_a_keeper_says_when_it_swept(transactional_db, settings):
    settings.TASK_SAFETY = {"SWEEP_INTERVAL": 0.05, "LEASE": 0.6}
    keeper = Keeper(consumer())
    keeper.start()
    try:
        assert until(Worker.objects.filter(last_sweep__isnull=False).exists)
    finally:
        keeper.stop()


def test_celery_tells_the_keeper_which_worker_it_is_in(monkeypatch):
    made: list[object] = []
    monkeypatch.setattr(hooks, "Keeper", lambda consumer: made.append(consumer) or SimpleNamespace(start=lambda: None))
    monkeypatch.setattr(hooks, "_keepers", [])
    worker = consumer()
    hooks._on_ready(sender=worker)
    assert made == [worker]


def test_what_could_not_be_said_is_not_tried_again_at_once(monkeypatch):
    def no_table() -> None:
        raise DatabaseError("no such table")

    monkeypatch.setattr(presence, "workers", no_table)
    worker = Presence(consumer())
    assert worker.until_next() == 0
    with pytest.raises(DatabaseError):
        worker.look_around()
    assert worker.until_next() > 1


def test_a_worker_stops_also_where_its_row_cannot_be_taken_away(monkeypatch, caplog):
    def down() -> None:
        raise DatabaseError("down")

    monkeypatch.setattr(presence, "workers", down)
    Presence(consumer()).leave()
    assert "could not be taken away: DatabaseError: down" in caplog.text


def test_a_command_that_sweeps_has_one_row_for_each_host():
    presence.note_sweep()
    presence.note_sweep()
    row = Worker.objects.get()
    assert (row.pool, row.queues) == ("", [])
    assert (overview().workers, overview().last_sweep) == ([], row.last_sweep)


def test_the_command_says_that_it_swept():
    WorkerFactory(last_sweep=None)
    call_command("task_safety", "sweep", stdout=io.StringIO())
    assert overview().problems == []


def test_the_fingerprint_is_that_of_the_settings_that_matter(settings):
    before = fingerprint(app)
    settings.TASK_SAFETY = {"KEEPER": False, "SWEEP_INTERVAL": 1}
    assert fingerprint(app) == before
    settings.TASK_SAFETY = {"LEASE": 90}
    assert fingerprint(app) != before


def test_a_row_says_its_moments_by_the_clock_of_the_database():
    Presence(consumer()).say()
    assert Worker.objects.filter(last_seen__gt=After(-5), last_seen__lte=Now(), started_at__lte=Now()).exists()
