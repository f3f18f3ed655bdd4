"""A death, or a rival, at each point of a piece of work in turn."""

import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, Generic, TypeVar

from django.db import connection, connections

from tests.crash.forked_processes import Victims
from tests.crash.messages import Letter
from tests.crash.scenarios import Scenario

T = TypeVar("T")
Prepare = Callable[[int], dict[str, Any]]

#: Seconds after which a rival counts as waiting for the paused victim's locks.
BLOCKED = 0.5


def crash_everywhere(
    scenario: Scenario, recovered: Callable[[int, list[Letter]], None]
) -> tuple[list[str], dict[str, str]]:
    """Run the scenario once, and then as often as it has points, each time with a death at the next of them.

    Args:
        scenario: The scenario.
        recovered: What happens afterwards, and asserts what must hold then; told the number and the messages.

    Returns:
        The points, and what was wrong after a death at which of them.
    """
    details, letters = scenario.prepare(scenario.DRY)
    points = scenario.victims.run(scenario.act, details).points
    recovered(scenario.DRY, letters)
    problems = {}
    for at, point in enumerate(points):
        number = 100 + at
        details, letters = scenario.prepare(number)
        scenario.victims.run(scenario.act, details, die_at=at)
        try:
            recovered(number, letters)
        except AssertionError as exc:
            problems[f"{at}: {point}"] = str(exc)
    return points, problems


@dataclasses.dataclass(frozen=True)
class Meeting(Generic[T]):
    """What came of a rival that met a paused victim."""

    number: int
    point: str
    #: Whether the rival was through before the victim went on; otherwise it waited for a lock of the victim's.
    rival_first: bool
    victims_answer: Any
    rivals_answer: T


def meet_everywhere(
    victims: Victims, act: str, prepare: Prepare, rival: Callable[[int, dict[str, Any]], T]
) -> Iterator[Meeting[T]]:
    """Pause the victim at each of its points in turn while a rival does what it wants."""
    for at, _ in enumerate(victims.run(act, prepare(1)).points):
        yield meet(victims, act, 100 + at, prepare, rival, at)


def meet(
    victims: Victims, act: str, number: int, prepare: Prepare, rival: Callable[[int, dict[str, Any]], T], at: int | str
) -> Meeting[T]:
    """Pause the victim at one point while the rival does what it wants."""
    details = prepare(number)
    paused = victims.pause(act, details, at)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(_with_own_connection, rival, number, details)
        # Who waits for a transaction to end can only be told from who is slow by the time it takes; and only an open
        # transaction makes others wait.
        may_block = paused.in_transaction
        sure_to_block = may_block and connection.vendor == "sqlite"
        wait([running], BLOCKED / 5 if sure_to_block else BLOCKED if may_block else 60)
        first = running.done()
        outcome = victims.resume()
        return Meeting(number, paused.point, first, outcome.value, running.result(60))


def _with_own_connection(rival: Callable[..., T], *args: Any) -> T:
    try:
        return rival(*args)
    finally:
        connections.close_all()
