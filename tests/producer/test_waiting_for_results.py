"""A result that cannot come before the transaction commits is not waited for."""

import threading
from typing import Any

import pytest
from celery import chain, chord, group, shared_task
from django.db import transaction

from django_task_safety import NotCommitted, idempotent_task, safe_task
from django_task_safety.models import Operation
from tests.support.delivering import elsewhere


@safe_task
def increment(n: int) -> int:
    return n + 1


@safe_task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@idempotent_task(key="n")
def once(n: int) -> int:
    return n


@safe_task
def waits() -> Any:
    return increment.delay(1).get(timeout=1, disable_sync_subtasks=False)


@shared_task
def plain() -> None: ...


CALLS = {
    "a task": lambda: increment.delay(1),
    "a task with a key": lambda: once.delay(1),
    "a chain": lambda: chain(increment.s(1), increment.s(), increment.s())(),
    "a chord": lambda: chord([increment.s(1), increment.s(2)])(total.s()),
    "a chord in a chain": lambda: chain(increment.s(1), chord([increment.s(), increment.s()], total.s()))(),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("method", ["get", "wait"])
def test_waiting_inside_the_transaction_that_enqueued_is_refused(worker, name, method):
    with transaction.atomic():
        result = CALLS[name]()
        with pytest.raises(NotCommitted, match=rf"{result.id}.*Leave transaction.atomic"):
            getattr(result, method)(timeout=1)
    worker.drain()
    assert result.get(timeout=1) is not None


@pytest.mark.parametrize("method", ["get", "join"])
def test_waiting_for_a_group_inside_the_transaction_that_enqueued_it_is_refused(worker, method):
    with transaction.atomic():
        result = group(increment.s(1), increment.s(2))()
        with pytest.raises(NotCommitted, match=rf"{result[0].id}.*Leave transaction.atomic"):
            getattr(result, method)(timeout=1)
    worker.drain()
    assert getattr(result, method)(timeout=1) == [2, 3]
    assert result.supports_native_join


def test_it_is_refused_in_a_savepoint_of_that_transaction(worker):
    with transaction.atomic():
        result = increment.delay(1)
        with transaction.atomic(), pytest.raises(NotCommitted):
            result.get(timeout=1)


def test_the_handle_of_a_duplicate_is_refused_there_too(worker):
    with transaction.atomic():
        once.delay(1)
        with pytest.raises(NotCommitted):
            once.delay(1).get(timeout=1)


def test_the_handle_of_a_rerun_is_refused_there_too(worker):
    operation = once.enqueue(1)
    operation.cancel()
    with transaction.atomic(), pytest.raises(NotCommitted):
        once.delay(1).get(timeout=1)


def test_what_was_committed_before_can_be_waited_for_in_a_transaction(worker):
    result = increment.delay(1)
    worker.drain()
    with transaction.atomic():
        increment.delay(2)
        assert result.get(timeout=1) == 2


def test_another_thread_may_wait_for_the_commit(worker):
    begun = threading.Event()

    def wait() -> int:
        begun.set()
        return result.get(timeout=10)

    with transaction.atomic():
        result = increment.delay(1)
        answers = []
        thread = threading.Thread(target=lambda: answers.append(elsewhere(wait)))
        thread.start()
        assert begun.wait(10)
    worker.drain()
    thread.join(20)
    assert answers == [2]


def test_a_body_that_waits_for_what_it_enqueues_fails_at_once(worker):
    result = waits.delay()
    worker.drain()
    operation = Operation.objects.get(pk=result.id)
    assert (operation.state, operation.error.partition(":")[0]) == ("failed", "NotCommitted")


def test_a_test_that_runs_the_callbacks_itself_may_wait(worker, django_capture_on_commit_callbacks):
    with transaction.atomic():
        with django_capture_on_commit_callbacks(execute=True):
            result = increment.delay(1)
        worker.drain()
        assert result.get(timeout=1) == 2
