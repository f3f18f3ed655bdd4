"""How many rows one statement is about."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from django.db import connections

T = TypeVar("T")

#: Below the 999 parameters of older SQLites.
CHUNK = 900
#: Where the database takes so many, for statements that hold nothing else.
LARGE_CHUNK = 5000


def chunk_size(*databases: str) -> int:
    """Return how many primary keys a statement takes on any of these databases, beside a few other parameters."""
    limits = [connections[using].features.max_query_params for using in databases]
    return LARGE_CHUNK if all(limit is None or limit > 2 * LARGE_CHUNK for limit in limits) else CHUNK


def chunks(items: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """Yield the items in pieces for one statement each."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
