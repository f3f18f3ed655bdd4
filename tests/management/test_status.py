"""``task_safety status``: operations, queues and workers at one glance."""

from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import translation

from django_task_safety.models import Operation
from tests.support.commands import task_safety
from tests.support.factories import QueueFactory, WorkerFactory
from tests.support.rows import operation
from tests.testapp.tasks import record

pytestmark = pytest.mark.django_db


def test_status_shows_counts_queues_and_workers():
    worker = WorkerFactory()
    QueueFactory(latency_p50=0.25, latency_p95=2.5, heartbeat=timedelta(seconds=0.125))
    record.enqueue_many([("a",), ("b",)])
    answer = task_safety("status")
    assert answer.code == 0, answer
    lines = answer.out.splitlines()
    assert lines[0] == "2 queued, 0 running, 0 succeeded, 0 failed, 0 cancelled"
    assert lines[1].startswith("last sweep: 20")
    assert lines[3].split() == ["QUEUE", "DUE", "OLDEST", "RUNNING", "P50", "P95", "HEARTBEAT", "WORKERS", "PROBLEM"]
    name, due, oldest, *rest = lines[4].split()
    assert (name, due) == ("celery", "2")
    assert int(oldest) < 60
    assert rest == ["s", "0", "0.25", "s", "2.50", "s", "0.12", "s", "1"]
    assert lines[7].startswith(f"{worker.name}  prefork, 2  celery")


def test_status_answers_in_json():
    worker = WorkerFactory()
    record.enqueue("a")
    data = task_safety("status", "--json").json
    assert data["counts"]["queued"] == {"number": 1, "more": False}
    assert data["queues"][0]["name"] == "celery"
    assert data["workers"][0]["name"] == worker.name
    assert (data["stuck"], data["problems"]) == (0, [])


def test_status_without_a_worker_ends_with_1_and_says_so():
    record.enqueue("a")
    answer = task_safety("status")
    assert answer.code == 1
    assert answer.out.startswith("1 queued")
    assert answer.err == "No worker is running. 1 operation waits."


@pytest.mark.parametrize("call", ["status", "list", "show", "doctor"])
def test_why_something_does_not_move_is_said_in_english_whatever_the_projects_language(call, settings):
    settings.LANGUAGE_CODE = "de"
    made = operation(age=3600, title="waits")
    with translation.override("de"):
        answer = task_safety(call, *([str(made.pk)] if call == "show" else []))
    assert "No worker is running." in answer.out + answer.err
    assert "wartet" not in answer.out


def test_status_with_stuck_work_ends_with_1_and_says_how_to_see_it():
    WorkerFactory()
    record.enqueue("a")
    Operation.objects.update(available_at=F("available_at") - timedelta(minutes=5))
    answer = task_safety("status")
    assert (answer.code, answer.err) == (1, "1 operation stuck: see task_safety list --stuck.")
    assert task_safety("status", "--json").json["stuck"] == 1
