"""Workers are killed while they work; each proof stands beside the control that the same treatment breaks."""

from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from django_task_safety.models import Operation
from tests.support.workers import Worker, quiet, until
from tests.testapp.models import Effect
from tests.testapp.tasks import charge_slowly, plain_charge_slowly

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]

NUMBERS = range(60)
TWICE = range(0, 60, 10)
KILLS = 3


def done() -> int:
    return Effect.objects.values("key").distinct().count()


def _reached(goal: int) -> bool:
    return done() >= goal


def work_under_kills(publish: Callable[[int], object], start_worker: Callable[..., Worker]) -> None:
    """Publish every number, some twice, and kill the worker again and again in the middle of its work."""
    for number in NUMBERS:
        publish(number)
        if number in TWICE:
            publish(number)
    for kill in range(1, KILLS + 1):
        worker = start_worker()
        goal = kill * len(NUMBERS) // 6
        until(partial(_reached, goal), timeout=60, pause=0.01)
        worker.kill()
    start_worker()


def counts() -> Counter[tuple[str, str]]:
    return Counter(Effect.objects.values_list("name", "key"))


def test_killed_workers_lose_nothing_and_do_nothing_twice(start_worker):
    work_under_kills(charge_slowly.delay, start_worker)
    until(lambda: not Operation.objects.pending().exists(), timeout=120)
    assert counts() == {(name, str(number)): 1 for number in NUMBERS for name in ("taken", "booked")}
    assert set(Operation.objects.values_list("state", flat=True)) == {"succeeded"}


def test_killed_workers_lose_repeat_or_leave_half_done_what_plain_tasks_do(start_worker):
    work_under_kills(plain_charge_slowly.delay, start_worker)
    # What was published twice is done twice in any case; it does not count.
    once = [str(number) for number in NUMBERS if number not in TWICE]

    def broken() -> bool:
        found = counts()
        return any(found["taken", key] != 1 or found["booked", key] != 1 for key in once)

    until(partial(quiet, Effect.objects.count), timeout=120)
    assert broken()
