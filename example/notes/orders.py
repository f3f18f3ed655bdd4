"""The orders in ``data/orders.csv``, and the shop that they are made in."""

import csv
from typing import NamedTuple

from django.conf import settings
from django.contrib.auth import get_user_model

from notes.models import NoteFields, Score


class Row(NamedTuple):
    number: int
    user: str
    item: str
    amount: int
    card: str


def fetch() -> list[Row]:
    with (settings.BASE / "data" / "orders.csv").open(newline="") as file:
        return [
            Row(int(row["number"]), row["user"], row["item"], int(row["amount"]), row["card"])
            for row in csv.DictReader(file)
        ]


def open_shop(rows: list[Row], note_model: type[NoteFields], notes: int) -> list[NoteFields]:
    """Create the orders' users, each with a score, and notes of theirs."""
    user_model = get_user_model()
    users = [user_model.objects.create(username=name) for name in sorted({row.user for row in rows})]
    Score.objects.bulk_create([Score(user=user) for user in users])
    return [
        note_model.objects.create(owner=users[number % len(users)], title=f"Note {number}", text="as it was")
        for number in range(notes)
    ]
