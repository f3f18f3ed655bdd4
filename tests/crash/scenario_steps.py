"""What a process does when it is killed or paused."""

from typing import Any

from django.db import transaction

from django_task_safety import split
from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from tests.crash import tasks
from tests.crash.messages import Message, from_json
from tests.support.delivering import local_worker
from tests.testapp.models import Order


class _Undo(Exception):
    pass


def place_order(number: int, *, undo: bool = False) -> None:
    """A user's transaction: a write of theirs, and the call of a task."""
    try:
        with transaction.atomic():
            Order.objects.create(number=number, amount=1)
            tasks.charge.delay(number)
            if undo:
                raise _Undo
    except _Undo:
        return


def place_orders(numbers: list[int]) -> None:
    with transaction.atomic():
        Order.objects.bulk_create([Order(number=number, amount=1) for number in numbers])
        tasks.charge.enqueue_many([(number,) for number in numbers])


def split_orders(numbers: list[int], title: str) -> None:
    """A user's transaction: writes of theirs, and a task over what was written."""
    with transaction.atomic():
        Order.objects.bulk_create([Order(number=number, amount=1) for number in numbers])
        split(Order.objects.filter(number__in=numbers), 2, tasks.charge_chunk, title=title)


def cancel_split(numbers: list[int], pk: str) -> bool:
    """A user's transaction: a write of theirs, and a cancel of the parent."""
    with transaction.atomic():
        Order.objects.filter(number__in=numbers).update(amount=0)
        return Operation.objects.get(pk=pk).cancel()


def enqueue(number: int, note_in: str = "", *, undo: bool | None = None) -> str:
    """Call the task, alone (None) or in a transaction that is undone (True) or not."""
    if undo is None:
        return tasks.charge.delay(number, note_in=note_in).id
    try:
        with transaction.atomic():
            answer = tasks.charge.delay(number, note_in=note_in).id
            if undo:
                raise _Undo
    except _Undo:
        return ""
    return answer


def deliver(message: Message) -> dict[str, Any]:
    """A worker's handling of a message."""
    delivery = local_worker().deliver(from_json(message))
    return {"acknowledged": delivery.acknowledged, "requeued": delivery.requeued, "state": delivery.state}


def cancel_order(number: int, pk: str) -> bool:
    """A user's transaction: a write of theirs, and a cancel."""
    with transaction.atomic():
        Order.objects.filter(number=number).update(amount=0)
        return Operation.objects.get(pk=pk).cancel()


def replace_order(number: int, amount: int) -> None:
    with transaction.atomic():
        Order.objects.filter(number=number).update(amount=amount)
        tasks.charge_latest.delay(number, amount)


def retry(pk: str) -> bool:
    return Operation.objects.get(pk=pk).retry()


def sweep() -> None:
    sweeper.sweep()
