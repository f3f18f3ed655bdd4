"""The same on plain Celery, beside each thing that the user does: the control of the demonstration."""

import uuid

from django.db import transaction

from notes import plain
from notes.models import Note, Order, PlainNote
from shop.celery import app

#: An order on plain Celery has the number of ours and this.
OFFSET = 1_000_000


def order(number: int, **values: object) -> None:
    """Order, as the story does; an error is the page that the user would see."""
    with transaction.atomic():
        Order.objects.get_or_create(number=OFFSET + number, defaults=values)
        plain.charge_order.apply_async_on_commit((OFFSET + number,), task_id=_task_id(number))


def cancel_order(number: int) -> None:
    Order.objects.filter(number=OFFSET + number).update(status=Order.Status.CANCELLED)
    app.control.revoke(_task_id(number))


def copy(twin: PlainNote, copies: int) -> None:
    fields = {"id": twin.pk, "owner_id": twin.owner_id, "title": twin.title, "text": twin.text}
    plain.copy_note.apply_async((fields, copies), task_id=_task_id(twin.pk))


def make(note: Note) -> PlainNote:
    return PlainNote.objects.create(owner_id=note.owner_id, title=note.title, text=note.text)


def delete(pks: list[int]) -> None:
    PlainNote.objects.filter(pk__in=pks).delete()


def cancel_copying(pk: int) -> None:
    app.control.revoke(_task_id(pk))


def _task_id(number: int) -> str:
    return str(uuid.UUID(int=number))
