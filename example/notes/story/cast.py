"""Who meets which trouble: the same in both acts, whatever the machine's speed."""

import dataclasses
from itertools import islice

from notes.models import NoteFields
from notes.orders import Row
from notes.work import PARTS

#: How many copies a user asks for, of a long note whose copying is interrupted, and of one that is then deleted.
COPIES, LONG, DELETED = 2, 80, 10


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
    quiet_notes: list[NoteFields]
    long_notes: list[NoteFields]
    edited_notes: list[NoteFields]
    deleted_notes: list[NoteFields]
    published_notes: list[NoteFields]
    archived_notes: list[NoteFields]
    imported_notes: list[NoteFields]
    proofread_notes: list[NoteFields]

    @property
    def work(self) -> int:
        """How many payments, copies and parts are asked for."""
        orders = self.usual, self.twice, self.clicks, self.killed, self.outage, self.busy, self.unanswered
        short = len(self.quiet_notes) + len(self.edited_notes)
        single = len(self.published_notes) + len(self.archived_notes)
        copies = COPIES * short + LONG * len(self.long_notes) + single
        return sum(map(len, orders)) + copies + PARTS * len(self.imported_notes)

    def inputs(self) -> dict[str, str]:
        """What each trouble meets, for people."""
        orders = ("twice", "clicks", "cancelled", "outage", "busy", "unanswered", "declined", "usual")
        notes = ("edited", "published", "archived", "proofread")
        return {
            **{name: f"{len(getattr(self, name))} orders" for name in orders},
            **{name: f"{len(getattr(self, f'{name}_notes'))} notes" for name in notes},
            "notes": f"{len(self.quiet_notes)} notes",
            "killed": f"{len(self.killed)} orders",
            "torn": f"{len(self.long_notes)} notes",
            "deleted": f"{len(self.deleted_notes)} x {DELETED} copies",
            "imported": f"{len(self.imported_notes)} x 2 imports",
            "scores": f"{len({row.user for row in self.usual})} users",
            "pending": "everything",
        }


#: How many notes the cast needs.
NOTES = 69


def cast(rows: list[Row], notes: list[NoteFields]) -> Cast:
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
        deleted_notes=list(islice(pages, 5)),
        published_notes=list(islice(pages, 10)),
        archived_notes=list(islice(pages, 10)),
        imported_notes=list(islice(pages, 10)),
        proofread_notes=list(islice(pages, 2)),
    )
