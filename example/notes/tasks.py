"""The tasks of the app."""

from django_task_safety import CANCEL, KEEP, PROTECT, current_operation, idempotent_task, safe_task
from notes import work
from notes.models import Note, Order


# The backoff is short for the demonstration.
@idempotent_task(key="order", retry_backoff=0.2, title="Charge {order}")
def charge_order(order: Order) -> None:
    operation = current_operation()
    work.charge(order, key=operation.idempotency_key if operation else None)


@charge_order.compensate
def take_back_the_confirmation(operation, exc) -> None:
    """The user was told that the order is confirmed."""
    Order.objects.filter(pk=operation.subject_id).update(status=Order.Status.DECLINED)


@safe_task(on_delete=CANCEL)
def copy_note(note: Note, copies: int = 1) -> None:
    """A copy that waits goes with the note."""
    work.copy_note(note, copies)


@safe_task(on_delete=PROTECT)
def publish_note(note: Note) -> None:
    """What is to be published cannot be deleted until it is."""
    work.copy_note(note)


@safe_task(on_delete=KEEP)
def archive_note(note: Note) -> None:
    """What is deleted meanwhile is archived all the same."""
    work.copy_note(note)


# A minute with another system is no minute for a transaction.
@safe_task(atomic=False)
def proofread(note: Note) -> None:
    work.proofread(note)


@safe_task(lock="import")
def import_parts(note: Note) -> None:
    """One import at a time."""
    work.import_parts(note)
