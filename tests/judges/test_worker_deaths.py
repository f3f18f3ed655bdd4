"""pytest-obligation kills a real worker at the stages of Celery's own tracer, and restarts it."""

import itertools

import pytest
from pytest_obligation.crash_histories import HistoriesDiverged
from pytest_obligation.integrations.celery_worker import DEATH_POINTS, SIGKILL_DEATH_POINTS, worker_history
from pytest_obligation.process_histories import ProcessHistory, assert_process_deaths_converge

from django_task_safety.models import Operation
from tests.support.workers import quiet
from tests.testapp.models import Effect
from tests.testapp.tasks import charge_slowly, plain_charge_slowly, record

pytestmark = [
    pytest.mark.live,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("quick"),
    pytest.mark.parametrize("broker", ["redis"], indirect=True),
]
NUMBERS = itertools.count()
ONCE = {"taken": 1, "booked": 1, "linked": 1}


def effects(number: int) -> dict[str, int]:
    """How often each trace is there that a task and its link leave."""
    return {name: Effect.objects.filter(name=name, key=str(number)).count() for name in ONCE}


def deaths(task, settled, **points) -> ProcessHistory[int, dict[str, int]]:
    def send() -> int:
        number = next(NUMBERS)
        task.apply_async((number,), link=record.si("linked", number))
        return number

    return worker_history(
        name=task.name,
        app="tests.celery:app",
        task=task.name,
        send=send,
        observe=effects,
        initial=dict.fromkeys(ONCE, 0),
        expected=ONCE,
        settled=settled,
        **points,
    )


def test_a_safe_task_converges_wherever_its_worker_dies(broker):
    def settled(number: int) -> bool:
        return effects(number)["linked"] > 0 and not Operation.objects.pending().exists()

    everywhere = DEATH_POINTS + SIGKILL_DEATH_POINTS
    assert_process_deaths_converge(deaths(charge_slowly, settled, death_points=everywhere))


def test_a_plain_task_that_acknowledges_late_does_not(broker):
    def settled(number: int) -> bool:
        return quiet(Effect.objects.count)

    at_its_start = deaths(plain_charge_slowly, settled, death_points=["task_prerun"], failure_points=[])
    with pytest.raises(HistoriesDiverged, match="died at task_prerun"):
        assert_process_deaths_converge(at_its_start)
