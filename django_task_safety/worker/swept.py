"""What a sweep did."""

import dataclasses
from typing import Self


@dataclasses.dataclass(slots=True)
class Swept:
    """What one sweep did, by number of operations."""

    published: int = 0
    requeued: int = 0
    failed: int = 0
    cancelled: int = 0
    #: Parents all of whose chunks have ended.
    settled: int = 0
    notified: int = 0
    pruned: int = 0
    #: Left alone, as their messages wait in a queue that moves.
    waiting: int = 0
    #: Rows over which it failed; they are looked at again later.
    set_back: int = 0

    def __bool__(self) -> bool:
        return any(dataclasses.astuple(self))

    def add(self, other: Self) -> None:
        """Count what another one counted."""
        for name, number in dataclasses.asdict(other).items():
            setattr(self, name, getattr(self, name) + number)
