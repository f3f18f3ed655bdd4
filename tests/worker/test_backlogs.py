"""A message that waits in a queue that moves is not published again; one that is lost is, in the end."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kombu.message import Message

from django_task_safety import ledger, safe_task
from django_task_safety.models import Operation
from django_task_safety.values.clock import After
from django_task_safety.worker import sweeper
from tests.celery import app
from tests.support.delivering import LocalWorker, statements
from tests.testapp.models import Effect
from tests.testapp.tasks import effect, record

State = Operation.State


@safe_task(rate_limit="0.5/m")
def limited(number: int) -> None:
    effect("limited", number)


@safe_task
def unlimited(number: int) -> None:
    effect("unlimited", number)


@safe_task(rate_limit="0.5/m", retention=86_400.0)
def kept_shortly(number: int) -> None: ...


@safe_task
def in_another_queue() -> None: ...


@safe_task(max_retries=None, retry_backoff=60, retry_backoff_max=60, retry_jitter=False)
def never_done() -> None:
    raise ConnectionError("not yet")


@pytest.fixture
def broker(worker) -> "Queue":
    return Queue(worker)


@pytest.fixture
def other_queue() -> Iterator[None]:
    app.conf.task_routes = {in_another_queue.name: {"queue": "other"}}
    forget_routes()
    yield
    app.conf.task_routes = None
    forget_routes()


def forget_routes() -> None:
    app.amqp.flush_routes()
    del app.amqp.router


class Queue:
    """What the broker holds: first in, first out, and a message can be lost."""

    def __init__(self, worker: LocalWorker) -> None:
        self.worker = worker
        self.messages: list[Message] = []

    def fill(self) -> int:
        """Take what was published, return how many messages."""
        taken = self.worker.take()
        self.messages += taken
        return len(taken)

    def start_next(self) -> None:
        self.fill()
        if self.messages:
            self.worker.deliver(self.messages.pop(0))

    def sweep_after(self, seconds: float) -> int:
        """Let time pass and sweep; return how many messages that published."""
        self.fill()
        self.worker.pass_time(seconds)
        sweeper.sweep()
        return self.fill()


def numbers_of_copies() -> set[int]:
    return set(Operation.objects.filter(state=State.QUEUED).values_list("republished", flat=True))


@pytest.mark.parametrize("task", [limited, kept_shortly])
def test_what_waits_behind_a_rate_limit_is_not_published_again(broker, task):
    for number in range(5):
        task.enqueue(number)
    for _ in range(4):
        broker.start_next()
        assert broker.sweep_after(61) == 0
        assert broker.sweep_after(61) == 0
    assert numbers_of_copies() == {0}
    broker.start_next()
    assert Operation.objects.filter(state=State.SUCCEEDED).count() == 5


def test_what_comes_later_starts_in_its_turn(broker):
    for number in range(5):
        limited.enqueue(number)
    for _ in range(5):
        broker.start_next()
        broker.sweep_after(120)
    limited.enqueue(5)
    broker.start_next()
    assert Effect.objects.get(key="5").name == "limited"


def test_a_queue_that_has_stopped_is_filled_again(broker):
    for number in range(3):
        limited.enqueue(number)
    broker.start_next()
    assert broker.sweep_after(61) == 0
    broker.messages.clear()
    assert broker.sweep_after(361) == 2
    assert numbers_of_copies() == {1}


def test_without_any_start_age_alone_decides(broker):
    limited.enqueue(1)
    assert broker.sweep_after(61) == 1


def test_what_was_overtaken_is_taken_for_lost(broker):
    lost = limited.enqueue(1)
    broker.fill()
    broker.messages.clear()
    limited.enqueue(2)
    limited.enqueue(3)
    broker.start_next()
    assert broker.sweep_after(61) == 1
    assert broker.messages[-1].headers["id"] == str(lost.pk)


def test_a_long_body_is_a_start_for_as_long_as_it_runs(broker):
    first = unlimited.enqueue(1)
    unlimited.enqueue(2)
    broker.fill()
    ledger.claim(first.pk, "works", 3600, None)
    Operation.objects.filter(pk=first.pk).update(due_at=None)
    broker.worker.pass_time(1000)
    Operation.objects.filter(pk=first.pk).update(due_at=After(30))
    sweeper.sweep()
    assert broker.fill() == 0


def test_what_the_other_tasks_of_a_queue_started_of_late_holds_a_copy_back(broker):
    unlimited.enqueue(1)
    waits = record.enqueue("waits")
    broker.fill()
    broker.worker.pass_time(30)
    broker.start_next()
    assert broker.sweep_after(31) == 0
    waits.refresh_from_db()
    assert waits.republished == 0


def test_a_task_of_another_queue_shows_nothing(broker, other_queue):
    unlimited.enqueue(1)
    waits = in_another_queue.enqueue()
    broker.worker.pass_time(30)
    broker.start_next()
    broker.sweep_after(31)
    waits.refresh_from_db()
    assert waits.republished == 1


def test_a_task_that_starts_for_ever_does_not_hold_back_what_was_lost(broker):
    never_done.enqueue()
    record.enqueue("lost")
    broker.fill()
    del broker.messages[1]
    for _ in range(6):
        broker.start_next()
        broker.sweep_after(61)
    assert Effect.objects.filter(name="lost").exists()


@pytest.mark.parametrize("lose", [lambda number: number == 3, lambda number: number % 3 == 0, lambda number: True])
def test_whatever_is_lost_of_a_backlog_is_done_in_the_end_and_little_is_copied(broker, lose: Callable[[int], Any]):
    count = 12
    for number in range(count):
        limited.enqueue(number)
    broker.fill()
    broker.messages = [message for number, message in enumerate(broker.messages) if not lose(number)]
    lost, copies = count - len(broker.messages), 0
    for _ in range(6 * count):
        broker.start_next()
        copies += broker.sweep_after(120)
    assert set(Effect.objects.values_list("key", flat=True)) == {str(number) for number in range(count)}
    # At growing intervals, for as long as the whole queue takes.
    assert copies <= lost * (1 + math.log2(2 * count))


def test_the_number_of_statements_does_not_grow_with_the_backlog(broker):
    def swept() -> int:
        broker.start_next()
        broker.worker.pass_time(61)
        with statements() as found:
            assert sweeper.sweep().waiting > 0
        return len(found)

    limited.enqueue_many([(number,) for number in range(3)])
    few = swept()
    limited.enqueue_many([(number,) for number in range(100)])
    broker.start_next()
    assert swept() <= few + 2
