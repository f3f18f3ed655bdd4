"""What a database says in the end."""

from django_task_safety.models import Operation
from tests.testapp.models import Effect, Order

State = Operation.State


def effects(name: str, number: int) -> int:
    return Effect.objects.filter(name=name, key=str(number)).count()


def operation(number: int) -> Operation | None:
    """Return the only operation with that key, if there is one."""
    found = list(Operation.objects.filter(key=str(number)).exclude(task__endswith=".thank"))
    assert len(found) < 2, f"{len(found)} rows for one key"
    return found[0] if found else None


def assert_charged_once(number: int) -> None:
    """The call succeeded, and its effects are there exactly once."""
    found = operation(number)
    assert found is not None, "the call is lost"
    assert found.state == State.SUCCEEDED
    assert (Order.objects.get(number=number).charged, effects("charge", number)) == (1, 1)
    assert effects("refund", number) == 0
    assert found.due_at is not None


def assert_failed_once(number: int) -> None:
    """The call failed: none of the body's effects is there, and its compensation's exactly once."""
    found = operation(number)
    assert found is not None, "the call is lost"
    assert found.state == State.FAILED
    assert found.error
    assert (Order.objects.get(number=number).charged, effects("charge", number)) == (0, 0)
    assert effects("refund", number) == 1


def assert_never_charged(number: int, state: State | None) -> None:
    """The call was cancelled, or never made; nothing of it happened."""
    found = operation(number)
    assert (found.state if found else None) == state
    charged = Order.objects.filter(number=number).values_list("charged", flat=True).first()
    assert (charged or 0, effects("charge", number), effects("refund", number)) == (0, 0, 0)
