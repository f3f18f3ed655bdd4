"""Pages of a list that is ordered by time and id, by where they begin rather than by their number.

A page costs the same wherever it is: the index is entered at a row, and nothing before it is counted or skipped.
"""

from __future__ import annotations

import dataclasses
import uuid
from datetime import datetime
from typing import Any

from django.db.models import BooleanField, DateTimeField, F, Func, Q, UUIDField, Value

from django_task_safety.record import AbstractOperation
from django_task_safety.values.clock import as_aware, as_stored

NEWEST_FIRST = ("-created_at", "-id")
OLDEST_FIRST = ("created_at", "id")


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A place in the list."""

    created_at: datetime
    pk: uuid.UUID

    @classmethod
    def of(cls, operation: AbstractOperation) -> Cursor:
        """Return the place of an operation."""
        return cls(operation.created_at, operation.pk)

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Return the place that ``str()`` made a text of. Raises `ValueError` for any other text."""
        moment, _, pk = text.rpartition("_")
        try:
            return cls(as_stored(as_aware(datetime.fromisoformat(moment))), uuid.UUID(pk))
        except OverflowError as exc:
            raise ValueError(f"{moment!r} is at no time of any row.") from exc

    def __str__(self) -> str:
        return f"{self.created_at.isoformat()}_{self.pk.hex}"


def beyond(cursor: Cursor, *, newer: bool) -> Q:
    """Return the condition that a row stands after a place on the way to the newer, or to the older, ones."""
    # The first condition says nothing that the second does not; MySQL enters the index by it.
    direction = "gte" if newer else "lte"
    return Q(**{f"created_at__{direction}": cursor.created_at}) & Q(_Compared(cursor, ">" if newer else "<"))


def until(cursor: Cursor, *, newer: bool) -> Q:
    """Return the condition that a row stands before a place on such a way, or at it."""
    direction = "lte" if newer else "gte"
    return Q(**{f"created_at__{direction}": cursor.created_at}) & Q(_Compared(cursor, "<=" if newer else ">="))


class _Compared(Func):
    """``(created_at, id) < (…, …)``, by which an index on the two is entered."""

    output_field = BooleanField()
    conditional = True

    def __init__(self, cursor: Cursor, sign: str) -> None:
        moment = Value(cursor.created_at, output_field=DateTimeField())
        super().__init__(F("created_at"), F("id"), moment, Value(cursor.pk, output_field=UUIDField()))
        self.sign = sign

    def as_sql(self, compiler: Any, connection: Any, **extra: Any) -> Any:  # type: ignore[override]
        compiled = [compiler.compile(one) for one in self.get_source_expressions()]
        (created, _), (pk, _), (moment, _), (other, _) = compiled
        return f"({created}, {pk}) {self.sign} ({moment}, {other})", [one for _, params in compiled for one in params]
