"""Real workers say that they are there, measure their queues, and say that they go."""

from datetime import timedelta

import pytest

from django_task_safety.fleet.this_side import this_side
from django_task_safety.models import Operation, Queue, Worker
from django_task_safety.overview import overview
from django_task_safety.registry import safe_task_names
from tests.celery import app
from tests.support.workers import until
from tests.testapp.tasks import record

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_worker_is_seen_its_quiet_queue_measured_and_its_row_goes_with_it(start_worker, pool):
    worker = start_worker(pool=pool)
    until(Worker.objects.filter(last_sweep__isnull=False).exists)
    row = Worker.objects.get()
    assert (row.pool, row.queues) == (pool, ["celery"])
    assert row.concurrency == (1 if pool == "solo" else 2)
    assert set(row.tasks) >= {record.name}
    # The tests' own modules have tasks that no worker imports.
    assert set(row.tasks) <= set(safe_task_names())
    until(Queue.objects.filter(heartbeat__isnull=False).exists)
    assert Queue.objects.get().heartbeat < timedelta(seconds=10)
    side = this_side(app)
    assert (row.package, row.celery, row.django, row.settings) == (
        side.package,
        side.celery,
        side.django,
        side.settings,
    )
    assert overview().problems == []
    worker.stop()
    assert not Worker.objects.exists()
    assert not Operation.all_rows.exists()


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
def test_an_operation_names_the_worker_that_has_it(start_worker):
    start_worker()
    operation = record.enqueue("a")
    until(lambda: not Operation.objects.pending().exists())
    operation.refresh_from_db()
    assert until(Worker.objects.filter(identity=operation.worker).exists)
