"""One row, task or exception holds up no other: whatever is wrong with it, the next sweep does the others' work."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise

import pytest
from celery import chain
from django.db import OperationalError, connections
from kombu import Producer

from django_task_safety import SafeTask, errors, idempotent_task, ledger, safe_task, split
from django_task_safety.models import Operation
from django_task_safety.worker import keeper, poison, result_backend, sweeper
from tests.support.factories import PageFactory
from tests.support.operations import state
from tests.testapp.models import Page

State = Operation.State
pytestmark = pytest.mark.django_db(transaction=True)
GOOD = 1_000


@safe_task
def good(n: int) -> int:
    return n


@idempotent_task(key="key", on_duplicate="replace")
def newest(key: str, page: Page | None = None) -> str:
    return key


@safe_task(max_retries=0)
def poorly_compensated() -> None:
    pass


@poorly_compensated.compensate
def raise_at_once(operation: Operation, exc: BaseException) -> None:
    raise RuntimeError("this undoes nothing")


@safe_task(max_retries=0)
def compensated_by_a_greenlet() -> None:
    pass


@compensated_by_a_greenlet.compensate
def run_out_of_time(operation: Operation, exc: BaseException) -> None:
    raise asyncio.CancelledError("no Exception, as gevent's and eventlet's timeouts are none")


@safe_task(rate_limit="10/x")
def oddly_limited() -> None:
    pass


@safe_task
def chunk(pks: list[int]) -> None:
    pass


class Shy(SafeTask):
    """Names its messages, and cannot."""

    abstract = True

    def shadow_name(self, args, kwargs, options):
        raise RuntimeError("no name")


@safe_task(base=Shy)
def shy() -> None:
    pass


def queued(**changes: object) -> Operation:
    operation = newest.enqueue(f"key {Operation.objects.count()}")
    Operation.objects.filter(pk=operation.pk).update(**changes)
    return operation


def lost(operation: Operation, **changes: object) -> Operation:
    """Its worker is lost in the middle of an attempt."""
    assert ledger.claim(operation.pk, "a worker that is gone", 1.0, None).claimed
    Operation.objects.filter(pk=operation.pk).update(**changes)
    return operation


def lost_with_newer_arguments(**changes: object) -> Operation:
    first, second = PageFactory.create_batch(2)
    operation = lost(newest.enqueue(str(first.pk), first))
    newest.enqueue(str(first.pk), second)
    Operation.objects.filter(pk=operation.pk).update(**changes)
    return operation


def ended(**changes: object) -> Operation:
    operation = queued(state=State.FAILED, delivered=False, **changes)
    Operation.objects.filter(pk=operation.pk).update(ended_at=operation.created_at)
    return operation


#: A retention of so long ends after the end of all times.
FOR_EVER = timedelta(days=106_751_990)


def split_up(**changes: object) -> Operation:
    PageFactory.create_batch(3)
    parent = split(Page.objects.all(), 2, chunk)
    Operation.objects.filter(pk=parent.pk).update(**changes)
    return parent


def first_chunk(**changes: object) -> Operation:
    one = split_up().children.earliest("pk")
    Operation.objects.filter(pk=one.pk).update(**changes)
    return one


def waiter_of_what_is_gone() -> Operation:
    awaited = queued()
    chain(newest.s(awaited.key), good.si(0)).delay()
    waiter = Operation.all_rows.get(waits_for=awaited.pk)
    awaited.delete()
    return waiter


#: What is wrong with a row, and the state in which it ends.
POISON: dict[str, tuple[Callable[[], Operation], str]] = {
    "arguments of newer work that are no longer taken": (
        lambda: lost_with_newer_arguments(payload='[["a", "b", "c", "d"], {}]'),
        State.FAILED,
    ),
    "arguments of newer work that cannot be read": (
        lambda: lost_with_newer_arguments(payload="!application/x-nope!utf-8!AAAA"),
        State.FAILED,
    ),
    "arguments that cannot be read": (lambda: queued(payload="{"), State.FAILED),
    "a serialiser that is gone": (lambda: queued(payload="!application/x-nope!utf-8!AAAA"), State.FAILED),
    "options that cannot be read": (lambda: queued(options="{"), State.FAILED),
    "options of an ended one that cannot be read": (lambda: ended(options="{"), State.FAILED),
    "an object of a model that is gone": (
        lambda: lost(queued(subject_label="gone.model", subject_id="1", subject_database="default")),
        State.SUCCEEDED,
    ),
    "a task that is gone": (lambda: queued(task="gone.task"), State.QUEUED),
    "an attempt of a task that is gone": (lambda: lost(queued(), task="gone.task"), State.QUEUED),
    "a compensation that raises": (
        lambda: lost(poorly_compensated.enqueue(), attempt=1, max_attempts=1),
        State.FAILED,
    ),
    "a compensation that raises what is no Exception": (
        lambda: lost(compensated_by_a_greenlet.enqueue(), attempt=1, max_attempts=1),
        State.FAILED,
    ),
    "a rate limit that cannot be read": (oddly_limited.enqueue, State.SUCCEEDED),
    "a retention without end": (
        lambda: lost(poorly_compensated.enqueue(), retention=FOR_EVER, attempt=1, max_attempts=1),
        State.FAILED,
    ),
    "a parent with a retention without end": (lambda: split_up(retention=FOR_EVER), State.FAILED),
    "a parent whose chunks are of a task that is gone": (
        lambda: first_chunk(task="gone.task").parent,
        State.RUNNING,
    ),
    "a chunk whose arguments cannot be read": (lambda: first_chunk(payload="{"), State.FAILED),
    "a duplicate that waits for what is gone": (waiter_of_what_is_gone, State.CANCELLED),
    "a task that has no name for its message": (shy.enqueue, State.FAILED),
}


def pass_and_sweep(worker, seconds: float) -> sweeper.Swept:
    worker.pass_time(seconds)
    return sweeper.sweep()


def test_every_kind_of_poison_among_a_thousand_good_rows_holds_up_none_of_them_and_ends_with_its_reason(worker):
    poisoned = {name: make() for name, (make, _) in POISON.items()}
    good.enqueue_many([(n,) for n in range(GOOD)])
    worker.take()
    # All are due, the poison first.
    pass_and_sweep(worker, 100)
    published = {message.headers["id"] for message in worker.take() if message.headers["task"] == good.name}
    assert len(published) == GOOD
    # The same again: the backoff of the poison comes after them.
    assert pass_and_sweep(worker, 130).published >= GOOD
    for _ in range(20):
        pass_and_sweep(worker, 1_000)
        worker.drain(limit=30_000)
    # Not whole rows, which the driver may be unable to read.
    seen = {pk: (end, error) for pk, end, error in Operation.all_rows.values_list("pk", "state", "error")}
    assert {name: seen[one.pk][0] for name, one in poisoned.items()} == {name: end for name, (_, end) in POISON.items()}
    silent = [name for name, one in poisoned.items() if seen[one.pk][0] == State.FAILED and not seen[one.pk][1]]
    assert silent == ["options of an ended one that cannot be read"]
    assert Operation.objects.filter(task=good.name, state=State.SUCCEEDED).count() == GOOD


def test_a_row_that_no_code_can_handle_is_set_back_at_growing_intervals_and_given_up(worker, monkeypatch, caplog):
    """As one would be that the database cannot even read."""
    bad, fine = good.enqueue(1), good.enqueue(2)
    worker.take()
    look, failures = sweeper._handle, []

    def stumble(batch, work, total):
        if any(row.pk == bad.pk for row in batch):
            failures.append(worker.ahead)
            raise ZeroDivisionError("bad luck")
        look(batch, work, total)

    def refuse(*args, **kwargs):
        raise ZeroDivisionError("bad luck again")

    monkeypatch.setattr(sweeper, "_handle", stumble)
    monkeypatch.setattr(poison.recovery, "discard_one", refuse)
    swept = pass_and_sweep(worker, 100)
    assert (swept.published, swept.set_back) == (1, 1)
    assert worker.take_one().headers["id"] == str(fine.pk)
    while state(bad) == State.QUEUED and worker.ahead < 100_000:
        pass_and_sweep(worker, 30)
    waits = sorted({round(later - sooner, -1) for sooner, later in pairwise(failures)} - {0})
    assert waits[0] == 60
    assert waits[-1] == 960
    row = Operation.objects.get(pk=bad.pk)
    assert (row.state, row.due_at, row.failed_sweeps) == (State.FAILED, None, 9)
    assert "could not be swept: ZeroDivisionError: bad luck" in row.error
    assert sum("a sweep failed over it" in line.getMessage() for line in caplog.records) == 10


def test_an_outage_of_the_database_is_no_row_s_fault(worker, monkeypatch):
    operation = good.enqueue(1)
    worker.take()

    def down(*args, **kwargs):
        raise OperationalError("gone away")

    monkeypatch.setattr(sweeper, "_handle", down)
    monkeypatch.setattr(type(connections["default"]), "is_usable", lambda self: False)
    worker.pass_time(100)
    with pytest.raises(OperationalError):
        sweeper.sweep()
    assert Operation.objects.get(pk=operation.pk).failed_sweeps == 0


def test_a_message_that_the_broker_refuses_holds_up_no_other(worker, monkeypatch):
    refused, *others = [good.enqueue(n) for n in range(5)]
    worker.take()
    publish = Producer.publish

    def picky(self, *args, **kwargs):
        if kwargs["headers"]["id"] == str(refused.pk):
            raise self.connection.channel_errors[0]("no such queue")
        return publish(self, *args, **kwargs)

    monkeypatch.setattr(Producer, "publish", picky)
    assert pass_and_sweep(worker, 100).published == len(others)
    assert len(worker.take()) == len(others)
    for _ in range(30):
        pass_and_sweep(worker, 2_000)
    # The broker may take it one day.
    assert state(refused) == State.QUEUED
    monkeypatch.setattr(Producer, "publish", publish)
    worker.take()
    worker.finish()
    assert state(refused) == State.SUCCEEDED


def test_a_broker_that_refuses_everything_is_left_alone_after_a_few_messages(worker, monkeypatch):
    good.enqueue_many([(n,) for n in range(50)])
    worker.take()
    tried = []

    def refuse(self, *args, **kwargs):
        tried.append(kwargs["headers"]["id"])
        raise self.connection.channel_errors[0]("out of memory")

    monkeypatch.setattr(Producer, "publish", refuse)
    assert pass_and_sweep(worker, 100).published == 0
    assert len(tried) == len(set(tried)) == 3


def test_an_ended_row_that_cannot_be_told_holds_up_no_other(worker):
    bad = ended(options="{")
    told = ended(options="{}")
    notifier = result_backend.Notifier()
    rows = list(Operation.objects.filter(pk__in=[bad.pk, told.pk]).order_by("created_at"))
    assert notifier.notify(rows) == [rows[1]]


def test_the_keeper_sweeps_on_after_a_poisoned_sweep(worker, monkeypatch):
    operation = good.enqueue(1)
    worker.take()
    worker.pass_time(100)
    real, seen = sweeper._due, []

    def once(*args):
        seen.append(1)
        if len(seen) == 1:
            raise errors.TaskSafetyError("unreadable")
        return real(*args)

    monkeypatch.setattr(sweeper, "_due", once)
    loop = keeper._Loop("test", lambda: 0.01, keeper._sweep)
    loop.thread.start()
    try:
        while not worker.take():
            assert len(seen) < 1_000
    finally:
        loop.stop()
    assert state(operation) == State.QUEUED
