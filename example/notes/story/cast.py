"""Who meets which trouble: the same in both acts, whatever the machine's speed."""

import dataclasses
from itertools import islice

from notes.models import Note
from notes.orders import Row

#: How many copies a user asks for, and how many of a long note whose copying is interrupted.
COPIES, LONG = 2, 80


@dataclasses.dataclass(frozen=True)
class Cast:
    usual: list[Row]
    twice: list[Row]
    clicks: list[Row]
    killed: list[Row]
    cancelled: list[Row]
    outage: list[Row]
    busy: list[Row]
    unanswered: list[Row]
    declined: list[Row]
    quiet_notes: list[Note]
    long_notes: list[Note]
    edited_notes: list[Note]
    deleted_notes: list[Note]

    @property
    def work(self) -> int:
        """How many payments and copies are asked for."""
        orders = self.usual, self.twice, self.clicks, self.killed, self.outage, self.busy, self.unanswered
        short = len(self.quiet_notes) + len(self.edited_notes)
        return sum(map(len, orders)) + COPIES * short + LONG * len(self.long_notes)

    def inputs(self) -> dict[str, str]:
        """What each trouble meets, for people."""
        orders = ("twice", "clicks", "cancelled", "outage", "busy", "unanswered", "declined", "usual")
        notes = {"edited": self.edited_notes, "deleted": self.deleted_notes, "notes": self.quiet_notes}
        return {
            **{name: f"{len(getattr(self, name))} orders" for name in orders},
            **{name: f"{len(group)} notes" for name, group in notes.items()},
            "killed": f"{len(self.killed)} orders",
            "torn": f"{len(self.long_notes)} notes",
            "scores": f"{len({row.user for row in self.usual})} users",
            "pending": "everything",
        }


#: How many notes the cast needs.
NOTES = 42


def cast(rows: list[Row], notes: list[Note]) -> Cast:
    by_card: dict[str, list[Row]] = {}
    for row in rows:
        by_card.setdefault(row.card, []).append(row)
    good, pages = iter(by_card["visa"]), iter(notes)
    return Cast(
        twice=list(islice(good, 30)),
        clicks=list(islice(good, 30)),
        cancelled=list(islice(good, 30)),
        outage=list(islice(good, 10)),
        usual=list(good),
        killed=by_card["slow"],
        busy=by_card["busy"],
        unanswered=by_card["timeout"],
        declined=by_card["declined"],
        quiet_notes=list(islice(pages, 20)),
        long_notes=list(islice(pages, 2)),
        edited_notes=list(islice(pages, 10)),
        deleted_notes=list(islice(pages, 10)),
    )
