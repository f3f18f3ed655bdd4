"""What several connections do at the same moment: the database decides, and exactly one wins."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from django.db import connection, transaction

from django_task_safety import ledger
from django_task_safety.ledger import schedule
from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from tests.support.workers import until
from tests.testapp.models import Effect
from tests.testapp.tasks import add, charge, double, record

State = Operation.State
T = TypeVar("T")
CALLERS = 6


def at_once(*works: Callable[[], T]) -> list[T]:
    """Do all of it at the same moment, each in a thread and on a connection of its own; return the answers in order."""
    start = threading.Barrier(len(works))

    def run(work: Callable[[], T]) -> T:
        try:
            connection.ensure_connection()
            start.wait(timeout=30)
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result(timeout=90) for future in [pool.submit(run, work) for work in works]]


def in_transaction(work: Callable[[], T]) -> Callable[[], T]:
    def run() -> T:
        with transaction.atomic():
            return work()

    return run


@pytest.mark.parametrize("wrap", [lambda work: work, in_transaction], ids=["autocommit", "transaction"])
def test_callers_with_one_key_get_one_operation(worker, wrap):
    for number in range(5):
        answers = at_once(*[wrap(lambda number=number: double.enqueue(number).pk)] * CALLERS)
        assert len(set(answers)) == 1
    assert Operation.all_rows.count() == 5
    assert len(worker.take()) == 5


def test_callers_who_enqueue_the_same_keys_in_opposite_orders_do_not_block_each_other(worker):
    numbers = list(range(60))
    forth, back = at_once(
        lambda: [operation.pk for operation in add.enqueue_many([(n,) for n in numbers])],
        lambda: [operation.pk for operation in add.enqueue_many([(n,) for n in reversed(numbers)])],
    )
    assert forth == back[::-1]
    assert Operation.objects.count() == len(numbers)


def test_the_loser_of_a_key_enqueues_it_when_the_winner_rolls_back(worker):
    inserted, asking = threading.Event(), threading.Event()

    def wins_and_rolls_back() -> None:
        with transaction.atomic():
            charge.enqueue(1)
            inserted.set()
            asking.wait(30)
            if connection.vendor == "postgresql":
                until(waiting_for_a_lock)
            transaction.set_rollback(True)

    def loses_and_stays() -> object:
        inserted.wait(30)
        asking.set()
        return charge.enqueue(1).pk

    _, pk = at_once(wins_and_rolls_back, loses_and_stays)
    assert Operation.objects.get().pk == pk
    assert worker.take_one().headers["id"] == str(pk)


def waiting_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return bool(cursor.fetchone()[0])


def test_one_of_many_claims_wins(worker):
    for number in range(5):
        pk = record.enqueue(number).pk
        answers = at_once(*[lambda pk=pk: ledger.claim(pk, "racer", 30, None).claimed] * CALLERS)
        assert sorted(answers) == [False] * (CALLERS - 1) + [True]
    assert set(Operation.objects.values_list("attempt", flat=True)) == {1}


def test_either_the_cancel_or_the_settling_wins(worker):
    for number in range(10):
        operation = ledger.claim(record.enqueue(number).pk, "racer", 30, None).operation
        settled, cancelled = at_once(
            in_transaction(lambda operation=operation: ledger.settle(operation, '"done"')),
            lambda operation=operation: Operation.objects.get(pk=operation.pk).cancel(),
        )
        assert settled != cancelled
        operation.refresh_from_db()
        assert operation.state == (State.SUCCEEDED if settled else State.CANCELLED)


def test_one_of_many_cancels_ends_it(worker):
    pk = record.enqueue("a").pk
    assert sorted(at_once(*[lambda: Operation.objects.get(pk=pk).cancel()] * CALLERS)).count(True) == 1


def test_one_of_many_retries_queues_it_again(worker):
    operation = record.enqueue("a")
    operation.cancel()
    worker.take()
    assert at_once(*[lambda: Operation.objects.get(pk=operation.pk).retry()] * CALLERS).count(True) == 1
    assert len(worker.take()) == 1


def test_sweepers_at_the_same_time_do_each_thing_once(worker):
    lost = record.enqueue_many([(number,) for number in range(20)])
    for operation in lost:
        ledger.claim(operation.pk, "dies", 30, None)
    worker.take()
    worker.pass_time(31)
    swept = at_once(*[sweeper.sweep] * 3)
    assert sum(one.requeued for one in swept) == 20
    worker.drain(limit=100)
    assert set(Operation.objects.values_list("state", "attempt")) == {(State.SUCCEEDED, 2)}
    assert Effect.objects.count() == 20


def test_a_renewal_and_a_sweep_do_not_both_win(worker):
    for number in range(10):
        pk = record.enqueue(number).pk
        token = ledger.claim(pk, "slow", 30, None).operation.token
        worker.pass_time(31)
        at_once(lambda pk=pk: schedule.renew([pk], "slow", 30), sweeper.sweep)
        operation = Operation.objects.get(pk=pk)
        assert (operation.state, operation.token) in [(State.RUNNING, token), (State.QUEUED, None)]
