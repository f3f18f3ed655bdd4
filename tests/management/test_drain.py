"""``task_safety drain``: wait until nothing is pending."""

from datetime import timedelta

import pytest
from django.db.models import F

from django_task_safety.management.actions import drain
from django_task_safety.models import Operation
from tests.support.commands import Terminal, task_safety
from tests.testapp.tasks import charge, record


@pytest.fixture
def at_each_look(monkeypatch):
    """Do something instead of waiting."""
    steps = []
    monkeypatch.setattr(drain.time, "sleep", lambda seconds: steps.pop(0)())
    return steps


@pytest.mark.django_db
def test_drain_of_nothing_is_done_at_once():
    assert task_safety("drain") == (0, "Nothing is pending.\n", "")
    answer = task_safety("drain", "--json").json
    assert (answer["drained"], answer["pending"]) == (True, [])


def test_drain_waits_until_nothing_is_pending(worker, at_each_look):
    record.delay("a")
    at_each_look += [lambda: None, worker.drain]
    assert task_safety("drain") == (0, "Nothing is pending.\n", "")
    assert at_each_look == []


@pytest.mark.django_db
def test_drain_says_after_its_time_what_is_left_and_ends_with_1():
    record.enqueue_many([("a",), ("b",)])
    later = charge.enqueue(1)
    Operation.objects.filter(pk=later.pk).update(available_at=F("available_at") + timedelta(days=3))
    answer = task_safety("drain", "--timeout", 0)
    assert answer.code == 1
    assert f"2 queued: {record.name} in the queue celery, the last of them not before 20" in answer.out
    assert f"1 queued: {charge.name}" in answer.out
    assert answer.err.endswith(": 3 operations.")
    left = task_safety("drain", "--timeout", "0s", "--json").json
    assert left["drained"] is False
    assert {(one["task"], one["number"]) for one in left["pending"]} == {(record.name, 2), (charge.name, 1)}


def test_drain_waits_for_what_is_asked_for_meanwhile_unless_told_otherwise(worker, at_each_look):
    record.delay("a")

    def step():
        worker.drain()
        record.delay("b")

    at_each_look += [step]
    assert task_safety("drain", "--existing").code == 0
    assert Operation.objects.pending().count() == 1
    at_each_look += [step, worker.drain]
    assert task_safety("drain").code == 0
    assert at_each_look == []


@pytest.mark.django_db
def test_drain_waits_for_one_task_or_queue_only():
    record.enqueue("a")
    assert task_safety("drain", "--task", charge.name, "--timeout", 0).code == 0
    assert task_safety("drain", "--queue", "other", "--timeout", 0).code == 0
    assert task_safety("drain", "--queue", "celery", "--timeout", 0).code == 1


@pytest.mark.django_db
def test_drain_waits_for_the_rows_of_waiting_duplicates_too():
    operation = record.enqueue("a")
    Operation.all_rows.update(waits_for=operation.pk)
    assert task_safety("drain", "--timeout", 0).code == 1


def test_drain_shows_on_a_terminal_how_far_it_is(worker, at_each_look):
    record.delay("a")
    at_each_look += [worker.drain]
    assert "1 operation pending after 0 s" in task_safety("drain", stderr=Terminal()).err
