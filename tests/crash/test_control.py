"""The same crashes around plain Celery tasks: they must do harm, or the other tests here would prove nothing."""

import pytest

from tests.crash import tasks
from tests.crash.counting import State, effects, operation
from tests.crash.fault_matrix import crash_at_every_point
from tests.crash.messages import deliver, recover
from tests.crash.scenarios import Delivery
from tests.testapp.models import Order


class EarlyDelivery(Delivery):
    """Acknowledged before it runs, as Celery does by default."""

    task = tasks.charge_early


class LateDelivery(Delivery):
    """Acknowledged after it ran."""

    task = tasks.charge_late


class OutsideDelivery(Delivery):
    """An operation whose body runs outside the transaction of its settling."""

    task = tasks.charge_outside


def harm(scenario):
    """Return the effects that the death at each point leaves, by point; other than one."""

    def redelivered(number, messages):
        # An honest broker: what was not acknowledged comes once more, and nothing else does.
        if scenario.task.acks_late and number != scenario.DRY:
            deliver(scenario.worker, messages)
        assert effects("charge", number) == Order.objects.get(number=number).charged
        assert effects("charge", number) == 1, f"{effects('charge', number)} effects"

    _, problems = crash_at_every_point(scenario, redelivered)
    return {point: text.splitlines()[0] for point, text in problems.items()}


def test_a_plain_task_with_late_acknowledgement_is_repeated_by_a_crash_after_its_commit(processes, worker):
    problems = harm(LateDelivery(processes, worker))
    assert set(problems.values()) == {"2 effects"}
    assert any("after COMMIT" in point for point in problems)


def test_a_plain_task_with_early_acknowledgement_is_lost_by_a_crash_before_its_commit(processes, worker):
    problems = harm(EarlyDelivery(processes, worker))
    assert set(problems.values()) == {"0 effects"}
    assert any("before COMMIT" in point for point in problems)


def test_effects_that_are_committed_before_the_settling_are_repeated_by_a_crash_in_between(processes, worker):
    scenario = OutsideDelivery(processes, worker)

    def recovered(number, messages):
        recover(worker, messages, sweep_first=True)
        assert operation(number).state == State.SUCCEEDED, "it has not ended"
        assert effects("charge", number) == 1, f"{effects('charge', number)} effects"

    _, problems = crash_at_every_point(scenario, recovered)
    assert {text.splitlines()[0] for text in problems.values()} == {"2 effects"}
    assert any("after COMMIT" in point for point in problems)


@pytest.mark.parametrize("kind", [EarlyDelivery, LateDelivery])
def test_a_plain_task_with_two_copies_of_its_message_is_repeated(processes, worker, kind):
    _, messages = kind(processes, worker).prepare(1)
    deliver(worker, messages * 2)
    assert effects("charge", 1) == 2
