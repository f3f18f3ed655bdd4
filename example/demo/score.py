"""What was asked for and what came of it, on both sides, counted from the databases."""

import dataclasses
import sqlite3
from contextlib import closing

from demo.models import CopyRequest
from demo.twin import OFFSET
from django_task_safety import KEEP
from notes import bank
from notes.models import Order, PlainNote


@dataclasses.dataclass
class Side:
    """How many came out as they were asked for, how many are missing (yet, or for ever), how many are too many."""

    right: int = 0
    missing: int = 0
    surplus: int = 0

    def count(self, wanted: int, made: int) -> None:
        self.right += min(wanted, made)
        self.missing += max(0, wanted - made)
        self.surplus += max(0, made - wanted)


@dataclasses.dataclass
class Line:
    """One kind of work."""

    name: str
    asked: int = 0
    ours: Side = dataclasses.field(default_factory=Side)
    plain: Side = dataclasses.field(default_factory=Side)


def score() -> list[Line]:
    return [orders(), copies()]


def orders() -> Line:
    """An order that says that it is confirmed should have been paid once, any other never."""
    line = Line("orders charged")
    paid = payments()
    for number, status in Order.objects.values_list("number", "status"):
        side = line.plain if number >= OFFSET else line.ours
        side.count(int(status == Order.Status.CONFIRMED), paid.get(number, 0))
        line.asked += number < OFFSET
    return line


def payments() -> dict[int, int]:
    """Return how often the bank was paid, by the order's number."""
    with closing(sqlite3.connect(bank.path(), timeout=20)) as connection:
        return dict(connection.execute("select number, count(*) from payment group by number"))


def copies() -> Line:
    line = Line("copies of notes")
    for request in CopyRequest.objects.all():
        wanted, made = request.wanted, request.made_plainly()
        line.asked += request.copies
        line.ours.count(wanted, request.made())
        # Copies of a note that the user has deleted, who was not told that somebody needs it.
        gone = request.on_delete != KEEP and not PlainNote.objects.filter(pk=request.plain_note).exists()
        line.plain.count(0 if gone else wanted, made)
    return line
