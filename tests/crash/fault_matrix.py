"""A death, or a rival, at each point of a piece of work in turn."""

import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, Generic, TypeVar

from django.db import connection, connections

from tests.crash.forked_processes import ForkedProcesses
from tests.crash.messages import Message
from tests.crash.scenarios import Scenario

T = TypeVar("T")
Prepare = Callable[[int], dict[str, Any]]

#: Seconds after which a rival counts as waiting for the paused process's locks.
BLOCKED = 0.5


def crash_at_every_point(
    scenario: Scenario, recovered: Callable[[int, list[Message]], None]
) -> tuple[list[str], dict[str, str]]:
    """Run the scenario once, and then as often as it has points, each time with a death at the next of them.

    Args:
        scenario: The scenario.
        recovered: What happens afterwards, and asserts what must hold then; given the number and the messages.

    Returns:
        The points, and what was wrong after a death at which of them.
    """
    details, messages = scenario.prepare(scenario.DRY)
    points = scenario.processes.run(scenario.step, details).points
    recovered(scenario.DRY, messages)
    problems = {}
    for at, point in enumerate(points):
        number = 100 + at
        details, messages = scenario.prepare(number)
        scenario.processes.run(scenario.step, details, die_at=at)
        try:
            recovered(number, messages)
        except AssertionError as exc:
            problems[f"{at}: {point}"] = str(exc)
    return points, problems


@dataclasses.dataclass(frozen=True)
class Race(Generic[T]):
    """What came of a rival and a paused process."""

    number: int
    point: str
    #: Whether the rival was through before the process went on; otherwise it waited for one of its locks.
    rival_first: bool
    process_result: Any
    rival_result: T


def race_at_every_point(
    processes: ForkedProcesses, step: str, prepare: Prepare, rival: Callable[[int, dict[str, Any]], T]
) -> Iterator[Race[T]]:
    """Pause the process at each of its points in turn while a rival does what it wants."""
    for at, _ in enumerate(processes.run(step, prepare(1)).points):
        yield race_at_point(processes, step, 100 + at, prepare, rival, at)


def race_at_point(
    processes: ForkedProcesses,
    step: str,
    number: int,
    prepare: Prepare,
    rival: Callable[[int, dict[str, Any]], T],
    at: int | str,
) -> Race[T]:
    """Pause the process at one point while the rival does what it wants."""
    details = prepare(number)
    paused = processes.pause(step, details, at)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(_with_own_connection, rival, number, details)
        # Who waits for a transaction to end can only be told from who is slow by the time it takes; and only an open
        # transaction makes others wait.
        may_block = paused.in_transaction
        sure_to_block = may_block and connection.vendor == "sqlite"
        wait([running], BLOCKED / 5 if sure_to_block else BLOCKED if may_block else 60)
        first = running.done()
        outcome = processes.resume()
        return Race(number, paused.point, first, outcome.value, running.result(60))


def _with_own_connection(rival: Callable[..., T], *args: Any) -> T:
    try:
        return rival(*args)
    finally:
        connections.close_all()
