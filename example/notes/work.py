"""What the tasks do. The plain ones and the safe ones share these bodies, to the letter."""

import time

from django.conf import settings
from django.db.models import F

from notes import bank
from notes.models import Charge, NoteFields, Order, Score

#: Seconds that copying a note, or importing a part of one, takes.
COPYING = 0.01 * settings.PACE
#: How many parts an import brings.
PARTS = 5
#: Seconds that the proofreader takes, and what a note says meanwhile.
PROOFREADING, AT_THE_PROOFREADER = 1.0, "at the proofreader"


def charge(order: Order, key: str | None = None) -> None:
    """Charge an order at the bank, write that into the ledger, and give the user the points."""
    receipt = bank.charge(order.number, order.amount, order.card, key)
    Charge.objects.create(order=order, amount=order.amount, receipt=receipt)
    Order.objects.filter(pk=order.pk).update(charged=F("charged") + order.amount)
    Score.objects.filter(user=order.user_id).update(points=F("points") + order.amount)


def copy_note(note: NoteFields, copies: int = 1) -> None:
    """Make copies of a note."""
    for number in range(1, copies + 1):
        _copy(note, f"{note.title} ({number})")
        time.sleep(COPYING)


def import_parts(note: NoteFields) -> None:
    """Import parts of a note, and count them: code that has to have the note to itself."""
    for number in range(1, PARTS + 1):
        _copy(note, f"{note.title}, part {number}")
        time.sleep(COPYING)
        note.parts += 1
        note.save(update_fields=["parts"])


def proofread(note: NoteFields) -> None:
    """Send a note to a slow service, and save what comes back."""
    type(note).objects.filter(pk=note.pk).update(text=AT_THE_PROOFREADER)
    time.sleep(PROOFREADING)
    note.text = "proofread"
    note.save()


def _copy(note: NoteFields, title: str) -> None:
    type(note).objects.create(owner_id=note.owner_id, title=title, text=note.text, copy_of_id=note.pk)
