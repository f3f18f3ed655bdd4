"""What is counted of one run, and what runs there are."""

import dataclasses
from collections import Counter
from collections.abc import Collection


@dataclasses.dataclass(frozen=True)
class Run:
    """One kind of task under one fault, and all that decides what happens to it."""

    fault: str
    broker: str
    database: str
    variant: str
    calls: int
    seed: int

    @property
    def place(self) -> tuple[str, str, str]:
        """The fault and where it strikes."""
        return self.fault, self.broker, self.database


@dataclasses.dataclass(frozen=True)
class Counted:
    """What was counted when all was drained."""

    #: How often the fault struck.
    times: int
    #: Keys for which a call was made, and those for which one returned without an error.
    attempted: int
    acknowledged: int
    #: Acknowledged keys whose work was never done, or not all of it.
    lost: int
    #: Keys whose work was done more than once, or a part of it.
    duplicated: int
    #: Keys whose calls raised, and whose work was done nevertheless.
    recovered: int
    #: Attempts that began and left nothing.
    interrupted: int
    seconds: float = 0.0


def count(
    attempted: int,
    acknowledged: Collection[str],
    traces: Collection[tuple[str, str]],
    *,
    begun: int = 0,
    times: int = 0,
) -> Counted:
    """Count.

    Args:
        attempted: How many keys calls were made for.
        acknowledged: The keys of the calls that returned without an error.
        traces: The name and the key of each trace that is there.
        begun: How many attempts began.
        times: How often the fault struck.
    """
    taken, booked = (Counter(key for name, key in traces if name == kind) for kind in ("taken", "booked"))
    done = taken.keys() & booked.keys()
    return Counted(
        times=times,
        attempted=attempted,
        acknowledged=len(acknowledged),
        lost=len(set(acknowledged) - done),
        duplicated=len({key for key in taken | booked if max(taken[key], booked[key]) > 1}),
        recovered=len(done - set(acknowledged)),
        interrupted=max(0, begun - booked.total()),
    )
