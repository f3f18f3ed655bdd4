"""Calls at the same moment: the database decides, and they become one operation for each key."""

import threading
from typing import TypeVar

import pytest
from django.db import connection, transaction

from django_task_safety.models import Operation
from tests.support.racing import at_once, in_transaction, waiting_for_a_lock
from tests.support.workers import until
from tests.testapp.tasks import add, charge, double

State = Operation.State
T = TypeVar("T")
CALLERS = 6


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
    inserted, calling = threading.Event(), threading.Event()

    def wins_and_rolls_back() -> None:
        with transaction.atomic():
            charge.enqueue(1)
            inserted.set()
            calling.wait(30)
            if connection.vendor == "postgresql":
                until(waiting_for_a_lock)
            transaction.set_rollback(True)

    def loses_and_stays() -> object:
        inserted.wait(30)
        calling.set()
        return charge.enqueue(1).pk

    _, pk = at_once(wins_and_rolls_back, loses_and_stays)
    assert Operation.objects.get().pk == pk
    assert worker.take_one().headers["id"] == str(pk)
