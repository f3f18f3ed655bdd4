"""What becomes of pending operations whose object goes: a statement, and the same as a trigger's assignments.

They are cancelled. But where newer arguments about another object wait for the end of a running attempt, only the
attempt has lost its object, and the row is queued with them.
"""

from typing import Any

from django.db.models import Case, F, Q, Value, When

from django_task_safety.ledger import table
from django_task_safety.ledger.columns import NEWER, QUEUED_AGAIN
from django_task_safety.ledger.finish import cancelled
from django_task_safety.record import AbstractOperation, OperationRows, State, operation_model
from django_task_safety.values.clock import Now

_SAME_OBJECT = ("subject_label", "subject_id", "subject_database")
#: The columns in which the two differ, as a row is queued. The sweeper publishes it, when it may start.
_QUEUED: dict[str, Any] = {
    **{"state": State.QUEUED.value, "error": "", "ended_at": None},
    **{"due_at": F("available_at"), "delivered": F("delivered")},
}


def cancel_with_object(found: OperationRows, reason: str) -> int:
    """Cancel what is pending among the rows found, or queue it with newer arguments; return how many changed."""
    # Invariant: the newest arguments run.
    values = {name: _either(name, queued, value) for name, queued, value in _differing(reason)}
    pending = found.filter(state__in=AbstractOperation.PENDING)
    return table.retry_on_deadlock(lambda: pending.update(**values, lock_slot=None, **QUEUED_AGAIN))


def newer_elsewhere() -> Q:
    """Return the condition on rows in which newer arguments about another object wait."""
    same = Q(**{NEWER[name]: F(name) for name in _SAME_OBJECT})
    return Q(newer_subject_label__isnull=False) & ~same


def _differing(reason: str) -> list[tuple[str, Any, Any]]:
    ended = cancelled(reason)
    return [(name, queued, ended[name]) for name, queued in _QUEUED.items()]


def _either(name: str, queued: Any, ended: Any) -> Case:
    field = operation_model()._meta.get_field(name)
    then, default = (value if hasattr(value, "resolve_expression") else Value(value) for value in (queued, ended))
    return Case(When(newer_elsewhere(), then=then), default=default, output_field=field)


def cancelled_sql(alias: str, now: str, reason: str) -> str:
    """Return what `cancel_with_object` writes as the assignments of a trigger's UPDATE."""

    def sql(value: Any) -> str:
        if isinstance(value, F):
            return f"{alias}{value.name}"  # type: ignore[attr-defined]
        known: dict[Any, str] = {None: "NULL", False: "FALSE"}
        return now if isinstance(value, Now) else known.get(value, f"'{value}'")

    same = " AND ".join(f"{alias}{NEWER[name]} = {alias}{name}" for name in _SAME_OBJECT)
    elsewhere = f"{alias}newer_subject_label IS NOT NULL AND NOT ({same})"
    # In this order: MySQL assigns from left to right.
    values = {
        name: f"CASE WHEN {elsewhere} THEN {sql(queued)} ELSE {sql(ended)} END"
        for name, queued, ended in _differing(reason)
    }
    values |= {"lock_slot": "NULL"} | {name: sql(value) for name, value in QUEUED_AGAIN.items() if value is None}
    values |= {name: f"COALESCE({alias}{newer}, {alias}{name})" for name, newer in NEWER.items()}
    values |= {newer: values.pop(newer) for newer in NEWER.values()}
    return ", ".join(f"{alias}{name} = {value}" for name, value in values.items())
