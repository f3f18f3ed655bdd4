"""Sweepers, and what happens beside a sweep: the database decides, and each thing is done once."""

from typing import TypeVar

from django_task_safety import ledger
from django_task_safety.ledger import schedule
from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from tests.support.racing import at_once
from tests.testapp.models import Effect
from tests.testapp.tasks import record

State = Operation.State
T = TypeVar("T")
CALLERS = 6


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


def test_of_a_renewal_of_a_lease_and_a_sweep_at_once_one_wins(worker):
    for number in range(10):
        pk = record.enqueue(number).pk
        token = ledger.claim(pk, "slow", 30, None).operation.token
        worker.pass_time(31)
        at_once(lambda pk=pk: schedule.renew([pk], "slow", 30), sweeper.sweep)
        operation = Operation.objects.get(pk=pk)
        assert (operation.state, operation.token) in [(State.RUNNING, token), (State.QUEUED, None)]
