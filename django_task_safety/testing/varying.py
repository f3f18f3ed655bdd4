"""What differs between runs that are both right: clocks, sequences, random values."""

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

#: What may vary within a text, as a whole: a moment, a time of day, an id, a number.
_VARIES = re.compile(
    r"(\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"
    r"|\d{1,2}:\d\d(?::\d\d(?:\.\d+)?)?|[0-9a-fA-F-]{8,}|\d+(?:\.\d+)?)"
)
#: So many things are matched by how much they are alike; more of them by their order.
_MANY = 100


@dataclasses.dataclass(frozen=True)
class Pattern:
    """What two values have in common."""

    types: frozenset[type]
    #: Of a text: its parts, None for one that varies; None if nothing is the same.
    parts: tuple[str | None, ...] | None = None

    def matches(self, value: Any) -> bool:
        if self.parts is None:
            return type(value) in self.types
        found = _parts(value)
        return len(found) == len(self.parts) and all(
            mine is None or mine == other for mine, other in zip(self.parts, found, strict=True)
        )

    def __str__(self) -> str:
        return "*" if self.parts is None else "".join("*" if part is None else part for part in self.parts)

    __repr__ = __str__


class Variants:
    """The patterns of what was found in one place."""

    def __init__(self) -> None:
        self._patterns: dict[Pattern, None] = {}

    def add(self, one: Any, other: Any) -> None:
        self._patterns[_common(one, other)] = None

    def of(self, value: Any) -> Any:
        """Return the pattern that a value has, or else the value."""
        return next((pattern for pattern in self._patterns if pattern.matches(value)), value)

    def __iter__(self) -> Iterator[Pattern]:
        return iter(self._patterns)


def pairs(ones: Sequence[T], others: Sequence[T], alike: Callable[[T, T], int]) -> Iterable[tuple[T, T]]:
    """Return which of the ones belongs to which of the others."""
    if len(ones) > _MANY:
        return zip(ones, others, strict=False)
    found, left = [], list(others)
    for one in ones:
        if left:
            best = max(left, key=lambda other: alike(one, other))
            left.remove(best)
            found.append((one, best))
    return found


def is_of_next_attempt(one: Any, other: Any) -> bool:
    """Return whether a value differs from another as the second attempt's number does from the first's."""
    first, second = _parts(one), _parts(other)
    if not first:
        return bool((one, other) == (1, 2))
    # Clocks and ids differ besides.
    return (one != other and first[::2] == second[::2]) and all(
        a == b or (a, b) == ("1", "2") or not a.isdigit() for a, b in zip(first, second, strict=True)
    )


def resemblance(one: str, other: str) -> int:
    """Return how much two texts are alike."""
    first, second = _parts(one), _parts(other)
    return sum(a == b for a, b in zip(first, second, strict=False)) - abs(len(first) - len(second))


def _common(one: Any, other: Any) -> Pattern:
    types = frozenset((type(one), type(other)))
    if types <= {str} or types <= {bytes}:
        first, second = _parts(one), _parts(other)
        # Every second part is what may vary.
        if first[::2] == second[::2]:
            return Pattern(types, tuple(a if a == b else None for a, b in zip(first, second, strict=True)))
    return Pattern(types)


def _parts(text: Any) -> list[str]:
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    return _VARIES.split(text) if isinstance(text, str) else []
