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
_TEXTS, _HOLDERS = {str, bytes}, {list, tuple, dict}
#: So many things are matched by how much they are alike; more of them by their order.
_MANY = 100


@dataclasses.dataclass(frozen=True)
class Pattern:
    """What two values have in common."""

    types: frozenset[type]
    #: Of a text or of what holds items: its parts, with patterns for those that vary; None if nothing is the same.
    parts: tuple[Any, ...] | None = None

    def matches(self, value: Any) -> bool:
        if type(value) not in self.types:
            return False
        found = _parts(value)
        return self.parts is None or (len(found) == len(self.parts) and all(map(_fits, self.parts, found)))

    def __str__(self) -> str:
        if self.parts is None:
            return "*"
        return "".join(map(str, self.parts)) if self.types <= _TEXTS else f"[{', '.join(map(repr, self.parts))}]"

    __repr__ = __str__


class Variants:
    """The patterns of what was found in one place."""

    def __init__(self) -> None:
        self._patterns: list[Pattern] = []

    def add(self, one: Any, other: Any) -> None:
        if (pattern := _common(one, other)) not in self._patterns:
            self._patterns.append(pattern)

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
    if not isinstance(one, str | bytes):
        return bool((one, other) == (1, 2))
    # Clocks and ids differ besides.
    return (one != other and first[::2] == second[::2]) and all(
        a == b or (a, b) == ("1", "2") or not a.isdigit() for a, b in zip(first, second, strict=True)
    )


def resemblance(one: str, other: str) -> int:
    """Return how much two texts are alike."""
    first, second = _parts(one), _parts(other)
    return sum(bool(a == b) for a, b in zip(first, second, strict=False)) - abs(len(first) - len(second))


def _common(one: Any, other: Any) -> Pattern:
    types = frozenset((type(one), type(other)))
    first, second = _parts(one), _parts(other)
    if len(types) == 1 and types <= _HOLDERS and len(first) == len(second):
        return Pattern(types, tuple(a if a == b else _common(a, b) for a, b in zip(first, second, strict=True)))
    # Every second part of a text is what may vary.
    if len(types) == 1 and types <= _TEXTS and first[::2] == second[::2]:
        varying = Pattern(frozenset((str,)))
        return Pattern(types, tuple(a if a == b else varying for a, b in zip(first, second, strict=True)))
    return Pattern(types)


def _fits(part: Any, value: Any) -> bool:
    return part.matches(value) if isinstance(part, Pattern) else bool(part == value)


def _parts(value: Any) -> Sequence[Any]:
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return _VARIES.split(value) if isinstance(value, str) else []
