"""Time made to pass for the operations' rows, for tests: nobody waits for the database's clock."""

from datetime import timedelta

from django.db.models import F

from django_task_safety.ledger import table
from django_task_safety.record import State
from django_task_safety.values.clock import After

_MOMENTS = (
    *("created_at", "available_at", "expires_at", "started_at"),
    *("deadline_at", "ended_at", "due_at"),
)


def pass_time(time: timedelta) -> None:
    """Let time pass for all operations: each of their moments is so much longer ago."""
    table.rows().update(**{name: F(name) - time for name in _MOMENTS})


def end_leases() -> int:
    """Let the leases of all that runs have run out; return how many."""
    return table.rows().filter(state=State.RUNNING).update(due_at=After(-1.0))
