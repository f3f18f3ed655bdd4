"""The known differences: the tests that pass plainly and fail with us, each with its reason."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

DATA = Path(__file__).parent / "differences.txt"
PASSED = "passed"


class Difference(NamedTuple):
    suite: str
    test: str
    reason: str


def known(suite: str) -> dict[str, str]:
    """Return the reason of each known difference."""
    return {one.test: one.reason for one in read(DATA.read_text()) if one.suite == suite}


def read(text: str) -> list[Difference]:
    """Read lines of suite, test and reason, with bars between them."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [Difference(*(part.strip() for part in line.split(" | ", maxsplit=2))) for line in lines]


def differing(plain: Mapping[str, str], safe: Mapping[str, str]) -> set[str]:
    """Return the tests that pass plainly, and with us fail, are skipped or do not even start."""
    return {test for test, outcome in plain.items() if outcome == PASSED and safe.get(test) != PASSED}


def unexpected(found: Collection[str], expected: Collection[str], ran: Collection[str]) -> tuple[set[str], set[str]]:
    """Return the differences that are not known, and the known ones among those that ran that are none any more."""
    return set(found) - set(expected), (set(expected) & set(ran)) - set(found)
