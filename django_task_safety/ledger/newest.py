"""Operations newest first, page by page, out of millions: nothing is counted, and no page reads more than so many rows.

A page begins after an operation rather than after a number of rows, so that the thousandth costs what the first does.
A condition without an index is looked for in windows of the newest rows; after a number of them without enough that
fits, the page says how far it got.
"""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

from django.db.models import Q, QuerySet

#: How many rows of an index one window takes in, and how many windows one page looks at.
WINDOW, WINDOWS = 10_000, 10

Rows = TypeVar("Rows", bound=QuerySet[Any])


class Place(NamedTuple):
    """Where an operation stands among the others, newest first."""

    created_at: datetime
    id: UUID

    @classmethod
    def of(cls, operation: Any) -> Place:
        """Return that of an operation."""
        return cls(operation.created_at, operation.pk)

    def before(self, found: Rows) -> Rows:
        """Return those among the rows that are older than this place."""
        # The first condition is the one that an index can use.
        here = Q(created_at__lt=self.created_at) | Q(pk__lt=self.id)
        return found.filter(here, created_at__lte=self.created_at)

    def down_to(self, found: Rows) -> Rows:
        """Return those among the rows that are not older than this place."""
        here = Q(created_at__gt=self.created_at) | Q(pk__gte=self.id)
        return found.filter(here, created_at__gte=self.created_at)


@dataclasses.dataclass(frozen=True, slots=True)
class Page(Generic[Rows]):
    """Some operations, newest first."""

    operations: list[Any]
    #: After which place the next page begins; None where there are no more.
    after: Place | None = None
    #: Whether the page is shorter than asked for although there may be more that fit: enough was looked at.
    cut_short: bool = False


def page(found: Rows, size: int, *, rare: Q | None = None, after: Place | None = None) -> Page[Rows]:
    """Return a page of operations, newest first, in a bounded number of bounded statements.

    Args:
        found: Operations that an index gives newest first, or of which there are few: all of them, those of a state,
            of an object, of somebody who asked.
        size: How many, at most.
        rare: What else they are to fulfil, where no index leads to it.
        after: Where the page before ended.
    """
    found = found.order_by("-created_at", "-pk")
    if rare is None:
        rows = list((after.before(found) if after else found)[: size + 1])
        return _page(rows, size, None)
    rows = []
    for _ in range(WINDOWS):
        window = after.before(found) if after else found
        after = _last_of(window)
        inside = (after.down_to(window) if after else window).filter(rare)
        rows += inside[: size + 1 - len(rows)]
        if len(rows) > size or after is None:
            break
    return _page(rows, size, after)


def _last_of(window: QuerySet[Any]) -> Place | None:
    """Return the place of the window's last row; None where there are not so many rows."""
    last = window.values_list("created_at", "pk")[WINDOW - 1 : WINDOW].first()
    return Place(*last) if last else None


def _page(rows: list[Any], size: int, looked_to: Place | None) -> Page[Any]:
    if len(rows) > size:
        return Page(rows[:size], Place.of(rows[size - 1]))
    return Page(rows, looked_to, cut_short=looked_to is not None)
