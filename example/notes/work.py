"""What the tasks do. The plain ones and the safe ones share these bodies, to the letter."""

import time

from django.db.models import F

from notes import bank
from notes.models import Charge, Note, Order, Score

#: Seconds that copying a note takes.
COPYING = 0.01


def charge(order: Order, key: str | None = None) -> None:
    """Charge an order at the bank, write that into the ledger, and give the user the points."""
    receipt = bank.charge(order.number, order.amount, order.card, key)
    Charge.objects.create(order=order, amount=order.amount, receipt=receipt)
    Order.objects.filter(pk=order.pk).update(charged=F("charged") + order.amount)
    Score.objects.filter(user=order.user_id).update(points=F("points") + order.amount)


def copy_note(note: Note, copies: int) -> None:
    """Make copies of a note."""
    for number in range(1, copies + 1):
        Note.objects.create(
            owner_id=note.owner_id, title=f"{note.title} ({number})", text=note.text, copy_of_id=note.pk
        )
        time.sleep(COPYING)
