"""How the two sides ask for work and cancel it. Nothing else differs between them."""

import uuid
from typing import Protocol

from django_task_safety.models import Operation
from notes import plain, tasks
from notes.models import Note, NoteFields, Order, PlainNote
from shop.celery import app


class Shop(Protocol):
    note_model: type[NoteFields]

    def charge(self, order: Order) -> None:
        """Called in the transaction in which the order is written."""

    def copy(self, note: NoteFields, copies: int) -> None: ...

    def publish(self, note: NoteFields) -> None: ...

    def archive(self, note: NoteFields) -> None: ...

    def proofread(self, note: NoteFields) -> None: ...

    def import_parts(self, note: NoteFields) -> None: ...

    def cancel(self, order: Order) -> None:
        """Called in the transaction in which the order is marked as cancelled."""


class PlainShop:
    note_model = PlainNote

    def __init__(self) -> None:
        self._ids: dict[int, str] = {}

    def charge(self, order: Order) -> None:
        self._ids[order.number] = str(uuid.uuid4())
        plain.charge_order.apply_async_on_commit((order.number,), task_id=self._ids[order.number])

    def copy(self, note: NoteFields, copies: int) -> None:
        fields = {"id": note.pk, "owner_id": note.owner_id, "title": note.title, "text": note.text}
        plain.copy_note.delay(fields, copies)

    def publish(self, note: NoteFields) -> None:
        plain.publish_note.delay(note.pk)

    def archive(self, note: NoteFields) -> None:
        plain.archive_note.delay(note.pk)

    def proofread(self, note: NoteFields) -> None:
        plain.proofread.delay(note.pk)

    def import_parts(self, note: NoteFields) -> None:
        plain.import_parts.delay(note.pk)

    def cancel(self, order: Order) -> None:
        app.control.revoke(self._ids[order.number])


class SafeShop:
    note_model = Note

    def charge(self, order: Order) -> None:
        tasks.charge_order.delay(order)

    def copy(self, note: NoteFields, copies: int) -> None:
        tasks.copy_note.delay(note, copies)

    def publish(self, note: NoteFields) -> None:
        tasks.publish_note.delay(note)

    def archive(self, note: NoteFields) -> None:
        tasks.archive_note.delay(note)

    def proofread(self, note: NoteFields) -> None:
        tasks.proofread.delay(note)

    def import_parts(self, note: NoteFields) -> None:
        tasks.import_parts.delay(note)

    def cancel(self, order: Order) -> None:
        Operation.objects.for_object(order).cancel("the user cancelled the order")


SHOPS: dict[str, type[Shop]] = {"plain": PlainShop, "safe": SafeShop}
