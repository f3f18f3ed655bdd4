"""pytest-obligation kills an enqueuing process and a worker at each commit, and tries the ownership of an operation."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models.signals import post_save
from pytest_obligation.crash_histories import (
    CallableDelivery,
    ExternalCall,
    HandoffHistory,
    HistoriesDiverged,
    assert_crash_at_every_commit_converges,
)
from pytest_obligation.profiles.bounded_ownership import (
    FENCED_OWNERSHIP_PROOFS,
    FencedOwnership,
    assert_claim_is_exclusive_across_connections,
    assert_ownership_bindings_are_production_bound,
)
from pytest_obligation.profiles.durable_retention import RETENTION_PROOFS, Retention

from django_task_safety import ledger, testing
from django_task_safety.ledger import retention, schedule, time_travel
from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from tests.judges import shop
from tests.support.delivering import LocalWorker
from tests.testapp.models import Effect, Order
from tests.testapp.tasks import record

State = Operation.State
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="pytest-obligation counts commits of PostgreSQL"),
]


def outcome(order: Order) -> tuple[int, int, int, list[str]]:
    """What was charged here, how often it was collected, the bank's charges but repetitions, how operations ended."""
    rows = dict(Order.objects.filter(number=order.number).values_list("pk", "charged"))
    collected = Effect.objects.filter(name="collected", key__in=map(str, rows)).count()
    operations = Operation.objects.filter(task=shop.collect.name, subject_id__in=map(str, rows))
    states = list(operations.values_list("state", flat=True))
    return sum(rows.values()), collected, len(set(shop.Bank.charges)), states


def new() -> Order:
    shop.Bank.charges.clear()
    return Order(number=Order.objects.count(), amount=1)


def enqueued() -> Order:
    order = new()
    order.save()
    shop.collect.enqueue(order)
    return order


@contextmanager
def asked_for_by(receiver: Callable[..., None]) -> Iterator[None]:
    post_save.connect(receiver, sender=Order)
    yield
    post_save.disconnect(receiver, sender=Order)


ONCE = (1, 1, 1, ["succeeded"])
BANK = ExternalCall(owner=shop.Bank, attribute="charge")


def work_on() -> None:
    """Workers and their sweeper, until nothing is pending."""
    with testing.LocalWorker() as local:
        local.drain()


@pytest.fixture
def delivery(worker: LocalWorker) -> CallableDelivery:
    return CallableDelivery(name="a worker", deliver=worker.drain, lose=worker.take, recover=work_on)


def ordering(name: str, expected: object) -> HandoffHistory:
    """What a view does: it writes an order, and by that asks for a task."""
    transition = transaction.atomic(Order.save)
    return HandoffHistory(name=name, arrange=new, transition=transition, observe=outcome, expected=expected)


def test_whoever_enqueues_may_die_at_each_commit_and_lose_each_message(delivery):
    with asked_for_by(shop.ask):
        assert_crash_at_every_commit_converges(delivery, ordering("safe", ONCE))


def test_a_worker_may_die_at_each_commit_and_at_each_call_to_another_system(delivery):
    def run(pk: int) -> None:
        with testing.LocalWorker() as local:
            local.run()

    history = HandoffHistory(
        name="run", arrange=enqueued, transition=run, observe=outcome, expected=ONCE, external_calls=(BANK,)
    )
    assert_crash_at_every_commit_converges(delivery, history)


def test_the_judge_finds_what_a_plain_task_loses(delivery):
    with asked_for_by(shop.ask_plainly), pytest.raises(HistoriesDiverged, match="died after commit 1"):
        assert_crash_at_every_commit_converges(delivery, ordering("plain", (1, 1, 1, [])))


class Owner:
    """The ownership of one operation, as the worker has it."""

    def __init__(self) -> None:
        self.pk = uuid.uuid4()
        self._workers: dict[uuid.UUID, str] = {}

    def make_claimable(self) -> uuid.UUID:
        self.pk = record.enqueue(str(self.pk)).pk
        return self.pk

    def claim(self) -> tuple[uuid.UUID, uuid.UUID] | None:
        worker = f"judge-{uuid.uuid4()}"  # another process each time
        found = ledger.claim(self.pk, worker, 30, None)
        if not found.claimed:
            return None
        self._workers[found.operation.token] = worker
        return found.operation.pk, found.operation.token

    def renew(self, pk: uuid.UUID, token: uuid.UUID) -> bool:
        return schedule.renew([pk], self._workers[token], 60) == 1


def held(pk: uuid.UUID, token: uuid.UUID) -> Operation:
    operation = Operation.objects.get(pk=pk)
    operation.token = token
    return operation


def settle(pk: uuid.UUID, token: uuid.UUID) -> bool:
    with transaction.atomic():
        return ledger.settle(held(pk, token), '"done"')


def retry(pk: uuid.UUID, token: uuid.UUID) -> bool:
    return ledger.requeue(held(pk, token), 0.0, name="retried", reason="judged")


def fail(pk: uuid.UUID, token: uuid.UUID) -> bool:
    return ledger.finish(held(pk, token), State.FAILED, ledger.Failure("judged"))


def release(pk: uuid.UUID, token: uuid.UUID) -> bool:
    return ledger.requeue(held(pk, token), 0.0, name="requeued", reason="judged")


def sweep(pk: uuid.UUID) -> int | None:
    return sweeper.sweep().requeued or None


def seen(pk: uuid.UUID) -> tuple[Any, ...]:
    operation = Operation.objects.get(pk=pk)
    return operation.state, operation.attempt, operation.token, operation.due_at


@pytest.fixture
def ownership() -> FencedOwnership:
    owner = Owner()
    return FencedOwnership(
        name="an operation",
        make_claimable=owner.make_claimable,
        claim=owner.claim,
        fenced_write=settle,
        other_fenced_writes={"retry": retry, "fail": fail, "release": release},
        renew_lease=owner.renew,
        expire_lease=lambda pk: time_travel.end_leases(),
        reclaim_stalled=sweep,
        observe=seen,
    )


@pytest.mark.parametrize(
    "proof",
    [
        assert_ownership_bindings_are_production_bound,
        *FENCED_OWNERSHIP_PROOFS,
        assert_claim_is_exclusive_across_connections,
    ],
    ids=lambda proof: proof.__name__,
)
def test_an_operation_has_one_owner(proof, ownership):
    proof(ownership)


@pytest.mark.parametrize("proof", RETENTION_PROOFS, ids=lambda proof: proof.__name__)
def test_what_is_pruned_has_ended(proof, worker):
    def ended() -> uuid.UUID:
        operation = record.enqueue("ended")
        worker.drain()
        sweeper.sweep()  # who waits for its outcome has heard of it
        worker.pass_time(10**8)
        return operation.pk

    def pending() -> uuid.UUID:
        pk = record.enqueue("pending").pk
        worker.pass_time(10**8)
        return pk

    proof(
        Retention(
            name="operations",
            make_non_terminal=pending,
            make_prunable=ended,
            run_retention=lambda: sum(retention.prune()),
            still_exists=lambda pk: Operation.all_rows.filter(pk=pk).exists(),
        )
    )
