"""By what people look for operations, and which of it an index leads to: for the admin and the commands alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.db.models import Q

from django_task_safety.ledger.keyset import Cursor
from django_task_safety.ledger.newest import Page, page
from django_task_safety.ledger.querysets import OperationQuerySet
from django_task_safety.record import State
from django_task_safety.values.clock import After
from django_task_safety.values.identity import Identity


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What operations are to fulfil, all of it at once; what is empty says nothing."""

    states: tuple[str, ...] = ()
    task: str = ""
    queue: str = ""
    #: ``app_label.model`` of the root model of their objects, in lower case.
    model: str = ""
    object: Identity | None = None
    #: A user, or a user's primary key.
    requested_by: Any = None
    #: Digests of keys, one of which it is to have; None: any key, or none.
    key_digests: frozenset[str] | None = None
    stuck: bool = False
    ended_within: timedelta | None = None

    def __bool__(self) -> bool:
        return self != Filters()

    def page(self, operations: OperationQuerySet, size: int, after: Cursor | None = None) -> Page[OperationQuerySet]:
        """Return a page of those that fulfil it, newest first."""
        found, rare = self._split(operations)
        return page(found, size, rare=rare, after=after)

    def pages(self, operations: OperationQuerySet, size: int) -> Iterator[list[Any]]:
        """Yield all that fulfil it, newest first, in lists of at most so many."""
        after: Cursor | None = None
        while True:
            found = self.page(operations, size, after)
            if found.operations:
                yield found.operations
            if (after := found.after) is None:
                return

    def _split(self, operations: OperationQuerySet) -> tuple[OperationQuerySet, Q | None]:
        """Return those to which an index leads, and what they are to fulfil besides."""
        found, rare = operations, Q()
        if self.object is not None:
            found = found.filter(**self.object.columns)
        if self.requested_by is not None:
            found = found.requested_by(self.requested_by)
        if self.key_digests is not None:
            found = found.filter(key_digest__in=self.key_digests)
        if self.stuck:
            found = found.stuck()
        for name in ("task", "queue"):
            if value := getattr(self, name):
                rare &= Q(**{name: value})
        if self.model:
            rare &= Q(subject_label=self.model)
        if self.ended_within is not None:
            rare &= Q(ended_at__gte=After(-self.ended_within.total_seconds()))
        if len(self.states) == 1 and self.states[0] != State.SUCCEEDED:
            found = found.filter(state=self.states[0])
        elif self.states:
            rare &= Q(state__in=self.states)
        few = any(one is not None for one in (self.object, self.requested_by, self.key_digests))
        if few or self.stuck:  # few enough to look at all of them
            return found.filter(rare), None
        return found, rare or None
