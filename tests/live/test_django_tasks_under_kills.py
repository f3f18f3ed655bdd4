"""Workers of Django's Tasks are killed while they work: ours lose and repeat nothing, and those of other backends do.

``pytest --live --large --db postgresql tests/live/test_django_tasks_under_kills.py -s`` tries a thousand tasks each.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import pytest
from django.conf import settings

from django_task_safety.models import Operation
from tests.live.rivals import OURS, RIVALS, Backend
from tests.support.workers import Worker, quiet, until
from tests.testapp.models import Effect

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(900),
    pytest.mark.skipif(not hasattr(settings, "TASKS"), reason="there are no Tasks"),
    # Which delivers again at once what a killed worker had not acknowledged.
    pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True),
]


class Harm(NamedTuple):
    """How many tasks had each of these done to them."""

    lost: int
    half_done: int
    duplicated: int


class Scale(NamedTuple):
    tasks: int
    kills: int


@pytest.fixture
def scale(large: bool) -> Scale:
    return Scale(1000, 20) if large else Scale(60, 3)


@pytest.fixture
def under_kills(broker: object, quick: object, transactional_db: None, scale: Scale) -> Iterator[Callable[..., Harm]]:
    """Run all tasks with a backend whose workers are killed, evenly over the first half of the tasks."""
    workers: list[Worker] = []

    def start(backend: Backend) -> Worker:
        workers.append(backend.worker().start())
        return workers[-1]

    def run(backend: Backend, ended: Callable[[], bool]) -> Harm:
        backend.enqueue(scale.tasks)
        for kill in range(1, scale.kills + 1):
            worker = start(backend)
            goal = kill * scale.tasks // (2 * scale.kills)
            until(partial(_reached, goal), timeout=60, pause=0.01)
            worker.kill()
        start(backend)
        until(ended, timeout=600)
        return harm(scale.tasks)

    yield run
    for worker in workers:
        worker.kill()


def harm(tasks: int) -> Harm:
    found = Counter(Effect.objects.values_list("name", "key"))
    done = [(found["taken", str(number)], found["booked", str(number)]) for number in range(tasks)]
    result = Harm(
        lost=sum(booked == 0 for _, booked in done),
        half_done=sum(taken != booked for taken, booked in done),
        duplicated=sum(max(each) > 1 for each in done),
    )
    print(f"{tasks} tasks: {result}")
    return result


def _reached(goal: int) -> bool:
    return Effect.objects.filter(name="taken").count() >= goal


def test_ours_loses_nothing_and_does_nothing_twice(under_kills):
    assert under_kills(OURS, lambda: not Operation.objects.pending().exists()) == Harm(0, 0, 0)
    assert set(Operation.objects.values_list("state", flat=True)) == {"succeeded"}


@pytest.mark.parametrize("rival", RIVALS)
def test_another_backend_loses_or_repeats_under_the_same_kills(under_kills, rival):
    if reason := RIVALS[rival].missing:
        pytest.skip(reason)
    assert under_kills(RIVALS[rival], partial(quiet, Effect.objects.count)) != Harm(0, 0, 0)
