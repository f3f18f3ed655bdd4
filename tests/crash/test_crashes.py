"""A process may die before and after every statement and COMMIT, and the data are right in the end."""

import pytest

from tests.crash.counting import assert_charged_once
from tests.crash.fault_matrix import crash_at_every_point
from tests.crash.messages import recover
from tests.crash.scenarios import SCENARIOS, Enqueue
from tests.crash.split_scenarios import SPLIT_SCENARIOS


@pytest.mark.parametrize("kind", [*SCENARIOS, *SPLIT_SCENARIOS], ids=lambda kind: kind.__name__)
def test_a_crash_at_any_point_neither_loses_nor_repeats_anything(processes, worker, kind):
    scenario = kind(processes, worker)

    def recovered(number, messages):
        # The data after a statement are those before the next one, so each way is tried with all of them.
        recover(worker, messages, sweep_first=bool(number % 2))
        scenario.check(number)

    points, problems = crash_at_every_point(scenario, recovered)
    print(f"{kind.__name__}: {len(points)} points")
    assert not problems
    assert ("before COMMIT" in points) == kind.commits


def test_a_user_who_repeats_a_call_after_a_crash_gets_it_done_once(processes, worker):
    scenario = Enqueue(processes, worker)

    def repeated(number, messages):
        scenario.repeat(number)
        recover(worker, scenario.take_messages(), sweep_first=True)
        assert_charged_once(number)

    _, problems = crash_at_every_point(scenario, repeated)
    assert not problems
