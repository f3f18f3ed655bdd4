"""A page of a filtered list, of a table that may have millions of rows.

Where an index has the filtered rows in the order of the list, the page is read from it. Where none has, as many rows as
`WINDOW` says are looked through, and the page says how far that was: a filter that nothing matches costs no more.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from django.db.models import Count, Q, Window

from django_task_safety.ledger.keyset import NEWEST_FIRST, OLDEST_FIRST, Cursor, beyond, until
from django_task_safety.models import Operation
from django_task_safety.record import AbstractOperation, State

#: How many rows are looked through for a page: of those that are near each other in the table, and of those that are
#: scattered, as the few in one state are. And how many are counted.
WINDOW, SCATTERED = 10_000, 4_000
MOST = 1_000
#: How many duplicates that wait for an operation are shown.
WAITING = 20
_FOUND = "_found"


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How the rows that a filter lets through are found.

    Attributes:
        strands: Conditions, for each of which an index has the rows in the order of the list.
        bounded: Whether the rows of a strand have to be looked through, for the filter asks for more than the strand.
    """

    strands: tuple[Q, ...] = (Q(),)
    bounded: bool = False

    @property
    def window(self) -> int:
        """How many rows of each strand are looked through."""
        return WINDOW if self.strands == (Q(),) else SCATTERED


@dataclasses.dataclass(slots=True)
class Page:
    """What was found."""

    rows: list[Any]
    #: Where the list goes on in each direction; None where it does not.
    newer: Cursor | None = None
    older: Cursor | None = None
    #: Where the look ended before the rows did.
    edge: Cursor | None = None
    #: How many rows there are, at most one more than `MOST`; where the look ended, in what was looked through.
    count: int = 0


def page(found: Any, plan: Plan, size: int, *, before: Cursor | None = None, after: Cursor | None = None) -> Page:
    """Return a page of a queryset.

    Args:
        size: How many rows there are on a page.
        before: Where the page begins, on the way to the older ones; or
        after: on the way to the newer ones.
    """
    start, newer = (after, True) if after else (before, False)
    edge = _edge(plan, start, newer) if plan.bounded else None
    looked = Q()
    if start:
        looked &= beyond(start, newer=newer)
    if edge:
        looked &= until(edge, newer=newer)
    order = OLDEST_FIRST if newer else NEWEST_FIRST
    matching = found.filter(Q.create(list(plan.strands), connector=Q.OR), looked)
    if plan.bounded:
        matching = matching.annotate(**{_FOUND: Window(Count("*"))})
    rows = list(matching.order_by(*order)[: size + 1])
    count = rows[0].__dict__[_FOUND] if plan.bounded and rows else len(rows)
    more, rows = len(rows) > size, rows[:size]
    onward = Cursor.of(rows[-1]) if more else edge
    back = Cursor.of(rows[0]) if rows and start else start
    if not plan.bounded and (more or start):
        count = _count(found, *plan.strands)
    ways = (onward, back) if newer else (back, onward)
    return Page(rows[::-1] if newer else rows, *ways, edge=edge, count=count)


def _edge(plan: Plan, start: Cursor | None, newer: bool) -> Cursor | None:
    """Return the last row that is looked at; None where that is the last that there is."""
    edges = []
    for strand in plan.strands:
        rows = Operation.all_rows.filter(strand, beyond(start, newer=newer) if start else Q())
        places = rows.order_by(*(OLDEST_FIRST if newer else NEWEST_FIRST)).values_list("created_at", "id")
        edges += [Cursor(*place) for place in places[plan.window - 1 : plan.window]]
    if not edges:
        return None
    return min(edges) if newer else max(edges)


def _count(found: Any, strand: Q) -> int:
    """Return how many rows there are, or one more than are counted: one statement."""
    # In the order of the strand's index, which is to be taken.
    return int(found.filter(strand).order_by(*NEWEST_FIRST)[: MOST + 1].count())


def waiting_for(operation: AbstractOperation) -> list[Any]:
    """Return duplicates that wait for a pending operation: some, of those that were asked for soon after it."""
    if not operation.is_pending:
        return []
    plan, start = Plan((Q(state=State.QUEUED),), bounded=True), Cursor.of(operation)
    rows = Operation.all_rows.filter(beyond(start, newer=True), *plan.strands, waits_for=operation.pk)
    if edge := _edge(plan, start, newer=True):
        rows = rows.filter(until(edge, newer=True))
    return list(rows.order_by(*OLDEST_FIRST).only("pk", "created_at")[:WAITING])


def in_words(count: int) -> str:
    """Return a count that stops: "1,000+"."""
    return f"{MOST:,}+" if count > MOST else f"{count:,}"
