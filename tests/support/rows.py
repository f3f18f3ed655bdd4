"""Operations in any state, written as they are: nothing runs them."""

from datetime import timedelta
from typing import Any

from django.utils import timezone

from django_task_safety.models import Operation
from django_task_safety.record import State


def operation(state: str = State.QUEUED, age: float = 0, **values: Any) -> Operation:
    """Return an operation that was asked for ``age`` seconds ago."""
    moment = timezone.now() - timedelta(seconds=age)
    named = {"task": "tests.testapp.tasks.record", "payload": "[[], {}]", "created_at": moment, "available_at": moment}
    ended = {} if state in Operation.PENDING else {"ended_at": moment}
    return Operation.objects.create(**{**named, **ended, "state": state, **values})


def operations(number: int, state: str = State.SUCCEEDED, **values: Any) -> list[Operation]:
    """Return several, the oldest first, a second apart."""
    moment = timezone.now() - timedelta(seconds=number)
    moments = [moment + timedelta(seconds=n) for n in range(number)]
    named = {"task": "tests.testapp.tasks.record", "payload": "[[], {}]", "state": state}
    return Operation.objects.bulk_create(
        Operation(**{**named, "created_at": at, "available_at": at, "ended_at": at, "title": f"No {n}", **values})
        for n, at in enumerate(moments)
    )
