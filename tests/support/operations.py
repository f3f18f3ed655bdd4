"""What the table says of operations."""

from django_task_safety.models import Operation


def only() -> Operation:
    """Return the only operation there is."""
    return Operation.objects.get()


def state(operation: Operation) -> str:
    """Return the state that the operation has by now."""
    return Operation.objects.get(pk=operation.pk).state
