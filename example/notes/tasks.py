"""The tasks of the app."""

from django_task_safety import current_operation, idempotent_task, safe_task
from notes import work
from notes.models import Note, Order


# The backoff is short for the demonstration.
@idempotent_task(key="order", retry_backoff=0.2)
def charge_order(order: Order) -> None:
    operation = current_operation()
    work.charge(order, key=operation.idempotency_key if operation else None)


@charge_order.compensate
def take_back_the_confirmation(operation, exc) -> None:
    """The user was told that the order is confirmed."""
    Order.objects.filter(pk=operation.subject_id).update(status=Order.Status.DECLINED)


@safe_task
def copy_note(note: Note, copies: int = 1) -> None:
    work.copy_note(note, copies)
