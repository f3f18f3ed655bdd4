"""Each operation that does not move says why, and a page of them costs a statement or two."""

import pytest

from django_task_safety import ledger
from django_task_safety.models import Operation
from django_task_safety.values.clock import After
from tests.support.delivering import statements
from tests.support.factories import WorkerFactory
from tests.testapp.tasks import record

pytestmark = pytest.mark.django_db


def due(seconds: float = 120, **columns: object) -> Operation:
    """Return an operation that has been due for so long."""
    operation = record.enqueue("a")
    Operation.objects.filter(pk=operation.pk).update(available_at=After(-seconds), due_at=After(60), **columns)
    return operation


def lost(worker: str, **columns: object) -> Operation:
    """Return an operation whose lease ran out."""
    operation = record.enqueue("a")
    ledger.claim(operation.pk, worker, 30, None)
    Operation.objects.filter(pk=operation.pk).update(due_at=After(-120), **columns)
    return operation


def why() -> str:
    return Operation.objects.stuck().get().why


def test_without_any_worker():
    due()
    assert why() == "No worker is running."
    WorkerFactory(silent=3600)
    assert why() == "No worker is running."


def test_of_a_queue_to_which_nobody_listens():
    WorkerFactory()
    due(queue="mail")
    assert why() == "No worker listens to the queue “mail”."
    WorkerFactory(queues=["mail"], silent=3600)
    assert why() == "No worker listens to the queue “mail”."


def test_of_a_task_that_no_worker_of_the_queue_knows():
    WorkerFactory(tasks=["other.task"])
    WorkerFactory(queues=["mail"])
    due()
    assert why() == f"No running worker knows the task {record.name}."


def test_a_worker_with_too_many_tasks_to_name_may_know_each():
    WorkerFactory(tasks=None)
    due()
    assert "knows" not in why()


def test_where_nobody_sweeps():
    WorkerFactory(last_sweep=None)
    operation = due()
    Operation.objects.update(due_at=After(-60))
    assert why() == "Nobody sweeps: what is lost is not published again."
    WorkerFactory(last_sweep=After(-3600))
    assert why().startswith("Nobody sweeps since ")
    Operation.objects.filter(pk=operation.pk).update(due_at=After(60))
    assert why().startswith("It is due since ")


def test_where_the_workers_of_its_queue_are_busy_or_not():
    worker = WorkerFactory(concurrency=1)
    due()
    assert why().endswith("; it waits behind others, or its message is lost and sent again.")
    ledger.claim(record.enqueue("b").pk, worker.identity, 30, None)
    assert why().endswith(", and the workers of its queue are busy.")


def test_of_a_worker_that_died_one_that_stopped_and_one_that_does_not_renew():
    WorkerFactory()
    dead, alive = WorkerFactory(silent=3600), WorkerFactory()
    operation = lost(dead.identity)
    assert why().startswith(f"Its worker {dead.name} has not been heard of since ")
    Operation.objects.filter(pk=operation.pk).update(worker=alive.identity)
    assert why() == f"Its worker {alive.name} has not renewed its lease; the sweeper takes it over."
    Operation.objects.filter(pk=operation.pk).update(worker="host:1:gone")
    assert why() == "Its worker host:1:gone has not renewed its lease; the sweeper takes it over."


def test_of_a_lost_attempt_where_nobody_sweeps():
    WorkerFactory(last_sweep=None)
    lost("host:1:gone")
    assert why() == "Nobody sweeps: what is lost is not published again."


def test_of_what_no_worker_runs():
    WorkerFactory()
    lost("")
    assert why() == "Its lease ended; the sweeper takes it over."


def test_of_what_moves_or_has_ended_there_is_nothing_to_say():
    WorkerFactory()
    running, ended, later = record.enqueue("a"), record.enqueue("b"), record.enqueue("c")
    ledger.claim(running.pk, "w", 30, None)
    ended.cancel()
    Operation.objects.filter(pk=later.pk).update(available_at=After(60))
    assert [operation.why for operation in Operation.objects.all()] == ["", "", ""]


def test_a_single_row_says_it_without_stuck():
    operation = due()
    assert Operation.objects.get(pk=operation.pk).why == "No worker is running."


def test_a_page_of_rows_looks_at_the_workers_once_and_the_next_page_again():
    WorkerFactory(concurrency=1)
    for _ in range(5):
        due()
    stuck = Operation.objects.stuck().order_by("pk")
    with statements() as found:
        rows = list(stuck[:5])
        assert len(found) == 1 or not found
    with statements() as found:
        assert len({row.why for row in rows}) == 1
    assert len(found) == 2
    WorkerFactory()
    with statements() as found:
        assert [bool(row.why) for row in stuck.all()] == [True] * 5
    assert len(found) == 3


def test_the_verbs_and_counts_of_stuck_rows_work_as_on_others():
    due()
    stuck = Operation.objects.stuck()
    assert (stuck.count(), stuck.exists(), stuck.values_list("task", flat=True).get()) == (1, True, record.name)
    assert stuck.only("pk").get().why == "No worker is running."
    assert stuck.cancel() == 1
