"""How the two sides ask for work and cancel it. Nothing else differs between them."""

import uuid
from typing import Protocol

from django_task_safety.models import Operation
from notes import plain, tasks
from notes.models import Note, Order
from shop.celery import app


class Shop(Protocol):
    def charge(self, order: Order) -> None:
        """Called in the transaction in which the order is written."""

    def copy(self, note: Note, copies: int) -> None: ...

    def cancel(self, order: Order) -> None:
        """Called in the transaction in which the order is marked as cancelled."""


class PlainShop:
    def __init__(self) -> None:
        self._ids: dict[int, str] = {}

    def charge(self, order: Order) -> None:
        self._ids[order.number] = str(uuid.uuid4())
        plain.charge_order.apply_async_on_commit((order.number,), task_id=self._ids[order.number])

    def copy(self, note: Note, copies: int) -> None:
        fields = {"id": note.pk, "owner_id": note.owner_id, "title": note.title, "text": note.text}
        plain.copy_note.delay(fields, copies)

    def cancel(self, order: Order) -> None:
        app.control.revoke(self._ids[order.number])


class SafeShop:
    def charge(self, order: Order) -> None:
        tasks.charge_order.delay(order)

    def copy(self, note: Note, copies: int) -> None:
        tasks.copy_note.delay(note, copies)

    def cancel(self, order: Order) -> None:
        Operation.objects.for_object(order).cancel("the user cancelled the order")


SHOPS: dict[str, type[Shop]] = {"plain": PlainShop, "safe": SafeShop}
