"""Operations newest first, page by page, out of millions: nothing is counted, and no page reads more than so many rows.

A page begins after an operation rather than after a number of rows, so that the thousandth costs what the first does.
A condition without an index is looked for in windows of the newest rows; after a number of them without enough that
fits, the page says how far it got.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Generic, TypeVar

from django.db.models import Q, QuerySet

from django_task_safety.ledger.keyset import NEWEST_FIRST, Cursor, beyond, until

#: How many rows of an index one window takes in, and how many windows one page looks at.
WINDOW, WINDOWS = 10_000, 10

Rows = TypeVar("Rows", bound=QuerySet[Any])


@dataclasses.dataclass(frozen=True, slots=True)
class Page(Generic[Rows]):
    """Some operations, newest first."""

    operations: list[Any]
    #: After which place the next page begins; None where there are no more.
    after: Cursor | None = None
    #: Whether the page is shorter than asked for although there may be more that fit: enough was looked at.
    cut_short: bool = False


def page(found: Rows, size: int, *, rare: Q | None = None, after: Cursor | None = None) -> Page[Rows]:
    """Return a page of operations, newest first, in a bounded number of bounded statements.

    Args:
        found: Operations that an index gives newest first, or of which there are few: all of them, those of a state,
            of an object, of somebody who asked.
        size: How many, at most.
        rare: What else they are to fulfil, where no index leads to it.
        after: Where the page before ended.
    """
    found = found.order_by(*NEWEST_FIRST)
    if rare is None:
        rows = list(_older(found, after)[: size + 1])
        return _page(rows, size, None)
    rows = []
    for _ in range(WINDOWS):
        window = _older(found, after)
        after = _last_of(window)
        inside = (window.filter(until(after, newer=False)) if after else window).filter(rare)
        rows += inside[: size + 1 - len(rows)]
        if len(rows) > size or after is None:
            break
    return _page(rows, size, after)


def _older(found: Rows, place: Cursor | None) -> Rows:
    return found.filter(beyond(place, newer=False)) if place else found


def _last_of(window: QuerySet[Any]) -> Cursor | None:
    """Return the place of the window's last row; None where there are not so many rows."""
    last = window.values_list("created_at", "id")[WINDOW - 1 : WINDOW].first()
    return Cursor(*last) if last else None


def _page(rows: list[Any], size: int, looked_to: Cursor | None) -> Page[Any]:
    if len(rows) > size:
        return Page(rows[:size], Cursor.of(rows[size - 1]))
    return Page(rows, looked_to, cut_short=looked_to is not None)
