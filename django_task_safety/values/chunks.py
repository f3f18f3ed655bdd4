"""How many rows one statement is about."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

#: Below the 999 parameters of older SQLites.
CHUNK = 900


def chunks(items: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """Yield the items in pieces for one statement each."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
