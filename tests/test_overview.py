"""What is to be seen at one moment: numbers that stop, queues, workers, and what is wrong with them."""

from datetime import timedelta

import pytest

from django_task_safety import ledger
from django_task_safety import overview as overviews
from django_task_safety.models import Operation
from django_task_safety.overview import Count, QueueStatus, overview
from django_task_safety.values.clock import After
from tests.support.delivering import statements
from tests.support.factories import QueueFactory, WorkerFactory
from tests.testapp.tasks import record

pytestmark = pytest.mark.django_db
State = Operation.State


def queue(name: str = "celery") -> QueueStatus:
    return next(one for one in overview().queues if one.name == name)


def test_of_nothing():
    seen = overview()
    assert seen.counts == {state: Count(0) for state in State}
    assert (seen.queues, seen.workers, seen.stuck, seen.last_sweep) == ([], [], 0, None)
    assert seen.problems == ["No worker is running."]


def test_a_good_state_has_no_problems():
    worker = WorkerFactory()
    record.enqueue("a")
    seen = overview()
    assert seen.problems == []
    (status,) = seen.workers
    assert (status.name, status.alive, status.problem, status.queues) == (worker.name, True, "", ["celery"])
    assert seen.last_sweep == status.last_sweep is not None


def test_counts_stop(monkeypatch):
    monkeypatch.setattr(overviews, "COUNT", 2)
    record.enqueue_many([("a",)] * 3)
    seen = overview()
    assert seen.counts[State.QUEUED] == Count(2, more=True)
    assert (str(Count(2, more=True)), str(Count(1000))) == ("2+", "1,000")


def test_of_each_queue_what_is_due_and_what_runs():
    worker = WorkerFactory()
    made = record.enqueue_many([("a",)] * 4)
    Operation.objects.filter(pk=made[0].pk).update(available_at=After(-90))
    Operation.objects.filter(pk=made[1].pk).update(available_at=After(90))
    ledger.claim(made[2].pk, worker.identity, 30, None)
    status = queue()
    assert (status.due, status.running, status.workers) == (2, 1, [worker.name])
    assert timedelta(seconds=90) <= status.oldest < timedelta(seconds=100)
    assert overview().stuck == 1


def test_a_queue_to_which_nobody_listens_is_a_problem_with_the_number_of_what_waits():
    WorkerFactory()
    record.enqueue_many([("a",)] * 2)
    Operation.objects.update(queue="mail")
    assert queue("mail").problem == "No worker listens to the queue “mail”."
    assert overview().problems == ["No worker listens to the queue “mail”. 2 operations wait."]


def test_a_task_that_no_worker_knows_is_a_problem():
    WorkerFactory(tasks=[])
    record.enqueue("a")
    assert overview().problems == [f"No running worker knows the task {record.name}. 1 operation waits."]


def test_a_worker_that_runs_something_else_is_a_problem():
    WorkerFactory(name="old@host", package="0.0.1")
    WorkerFactory(name="odd@host", settings="other")
    WorkerFactory(name="dead@host", silent=3600)
    by_name = {worker.name: worker for worker in overview().workers}
    assert by_name["dead@host"].problem.endswith(" it has not been heard of.")
    assert sorted(overview().problems) == [
        "odd@host: Its settings are not those of this side.",
        "old@host: It runs django-task-safety 0.0.1, this side runs 0.1.0.",
    ]


def test_that_nobody_sweeps_is_a_problem_and_a_command_may_do_it():
    WorkerFactory(last_sweep=None)
    assert overview().problems == ["Nobody sweeps: what is lost is not published again."]
    WorkerFactory(pool="", last_sweep=After(0))
    assert overview().problems == []
    assert len(overview().workers) == 1


def test_what_was_measured_of_a_queue_is_shown_while_it_is_fresh():
    WorkerFactory()
    row = QueueFactory(latency_p50=0.5, latency_p95=2.5, heartbeat=timedelta(seconds=3))
    status = queue()
    assert (status.latency_p50, status.latency_p95, status.heartbeat) == (0.5, 2.5, timedelta(seconds=3))
    row.heartbeat_sent, row.measured_at = After(-60), After(-600)
    row.save()
    status = queue()
    assert (status.latency_p50, status.latency_p95) == (None, None)
    assert status.heartbeat >= timedelta(seconds=60)


def test_a_queue_whose_heartbeat_does_not_arrive_though_its_workers_are_free_is_a_problem():
    worker = WorkerFactory(concurrency=1)
    QueueFactory(heartbeat_sent=After(-150))
    problem = "The queue “celery” hands nothing out, though its workers are free: restart them."
    assert (queue().problem, overview().problems) == (problem, [problem])
    ledger.claim(record.enqueue("a").pk, worker.identity, 30, None)
    assert (queue().problem, overview().problems) == ("", [])


def test_a_lost_heartbeat_of_a_queue_that_works_is_no_problem():
    WorkerFactory(concurrency=1)
    QueueFactory(heartbeat_sent=After(-150), latency_p50=0.1, latency_p95=0.1)
    assert (queue().problem, overview().problems) == ("", [])


def test_it_takes_few_statements_whatever_there_is():
    with statements() as before:
        overview()
    for number in range(5):
        WorkerFactory(queues=[f"q{number}"])
        record.enqueue("a")
    with statements() as found:
        overview()
    assert len(found) <= len(before) + 1 <= 14
