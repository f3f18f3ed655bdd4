"""Claims, cancels, settles and retries at the same moment: the database decides, and exactly one wins."""

from typing import TypeVar

from django_task_safety import ledger
from django_task_safety.models import Operation
from tests.support.racing import at_once, in_transaction
from tests.testapp.tasks import record

State = Operation.State
T = TypeVar("T")
CALLERS = 6


def test_of_many_claims_at_once_one_wins(worker):
    for number in range(5):
        pk = record.enqueue(number).pk
        answers = at_once(*[lambda pk=pk: ledger.claim(pk, "racer", 30, None).claimed] * CALLERS)
        assert sorted(answers) == [False] * (CALLERS - 1) + [True]
    assert set(Operation.objects.values_list("attempt", flat=True)) == {1}


def test_of_a_cancel_and_a_settle_at_once_one_wins(worker):
    for number in range(10):
        operation = ledger.claim(record.enqueue(number).pk, "racer", 30, None).operation
        settled, cancelled = at_once(
            in_transaction(lambda operation=operation: ledger.settle(operation, '"done"')),
            lambda operation=operation: Operation.objects.get(pk=operation.pk).cancel(),
        )
        assert settled != cancelled
        operation.refresh_from_db()
        assert operation.state == (State.SUCCEEDED if settled else State.CANCELLED)


def test_of_many_cancels_at_once_one_ends_the_operation(worker):
    pk = record.enqueue("a").pk
    assert sorted(at_once(*[lambda: Operation.objects.get(pk=pk).cancel()] * CALLERS)).count(True) == 1


def test_of_many_retries_at_once_one_queues_the_operation_again(worker):
    operation = record.enqueue("a")
    operation.cancel()
    worker.take()
    assert at_once(*[lambda: Operation.objects.get(pk=operation.pk).retry()] * CALLERS).count(True) == 1
    assert len(worker.take()) == 1
