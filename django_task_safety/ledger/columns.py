"""The columns that transitions write together, and the writing of one row."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from django.db import DataError, OperationalError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F
from django.db.models.functions import Coalesce

from django_task_safety.ledger import notifications, table
from django_task_safety.record import AbstractOperation, OperationRows
from django_task_safety.values import codec
from django_task_safety.values.clock import After, Now

T = TypeVar("T")

#: What a row looks like when no attempt owns it.
UNOWNED: dict[str, Any] = {"token": None, "deadline_at": None}
#: Where a running row keeps what newer arguments are about, until they become the row's: all None, or none of them.
NEWER = {
    **{"subject_label": "newer_subject_label", "subject_id": "newer_subject_id"},
    **{"subject_database": "newer_subject_database", "on_delete": "newer_on_delete"},
}
_NO_NEWER: dict[str, Any] = dict.fromkeys(NEWER.values())
#: What a running row becomes that is queued again: it is about what its arguments are about. MySQL assigns from left to
#: right.
QUEUED_AGAIN: dict[str, Any] = {
    **UNOWNED,
    **{column: Coalesce(F(newer), F(column)) for column, newer in NEWER.items()},
    **_NO_NEWER,
}
#: And what a row looks like that has ended: its lock is free, and nothing waits.
ENDED: dict[str, Any] = {**UNOWNED, **_NO_NEWER, "lock_slot": None}
#: What may hold letters that the database's character set does not have: other people's texts.
_TEXTS = ("error", "traceback", "title")
#: How long the shorter ones may be: titles, and what says how far a task is.
SHORT_TEXT = 255
#: MariaDB's and MySQL's numbers of that; PostgreSQL has a class for it.
_NO_SUCH_LETTER = frozenset({1366, 3988})
#: What ties a row to its object.
SUBJECT_COLUMNS = ("subject_label", "subject_id", "subject_database", "on_delete", "lock", "lock_slot")
#: What a fresh run starts from.
FRESH: dict[str, Any] = {
    **UNOWNED,
    **{"attempt": 0, "republished": 0, "failed_sweeps": 0, "started_at": None, "ended_at": None},
    **{"progress": None, "progress_message": "", "result_payload": "", "error": "", "traceback": "", "exception": ""},
}


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed, as text."""

    error: str
    traceback: str = ""
    exception: str = ""


def write(found: OperationRows, operation: AbstractOperation, values: dict[str, Any], name: str = "") -> bool:
    """Update the one row, and the instance where that succeeded."""
    if not update(found, values):
        return False
    for attname, value in values.items():
        if hasattr(value, "resolve_expression"):
            operation.__dict__.pop(attname, None)
        else:
            setattr(operation, attname, value)
    if name:
        notifications.transition(name, operation)
    return True


def update(found: OperationRows, values: dict[str, Any]) -> int:
    """Update rows, return how many. Texts whose letters the database's character set does not have are escaped: what
    is to be recorded never prevents that it is."""
    texts = {name: values[name] for name in _TEXTS if isinstance(values.get(name), str)}

    def write_as(spell: Callable[[str], str]) -> int:
        spelt = {name: spell(text) for name, text in texts.items()}
        if "title" in spelt:
            spelt["title"] = spelt["title"][:SHORT_TEXT]
        return table.retry_on_deadlock(lambda: found.update(**{**values, **spelt}))

    return write_spelt(table.connection(), texts.values(), write_as)


def write_spelt(
    db: BaseDatabaseWrapper,
    texts: Iterable[str],
    write_as: Callable[[Callable[[str], str]], T],
    *,
    undoable: bool = True,
) -> T:
    """Write texts as they are, or escaped where the database's character set does not have their letters.

    Args:
        write_as: Writes them, spelt by what it is given.
        undoable: Whether that is tried in a savepoint where a refused statement may spoil the caller's transaction.
    """
    if all(text.isascii() for text in texts):
        return write_as(str)
    inside = undoable and db.in_atomic_block
    try:
        with transaction.atomic(using=db.alias) if inside else contextlib.nullcontext():
            return write_as(str)
    except (DataError, OperationalError, UnicodeError) as exc:
        if isinstance(exc, OperationalError) and table.code(exc) not in _NO_SUCH_LETTER:
            raise
    return write_as(codec.in_ascii)


def forget_expressions(operation: AbstractOperation) -> None:
    """Leave what the database computed to be read when it is asked for."""
    values = operation.__dict__
    for attname in [name for name, value in values.items() if isinstance(value, Now | After)]:
        del values[attname]
