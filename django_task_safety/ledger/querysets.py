"""What one can ask of operations in bulk."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

from django.db import models
from django.db.models import Q

from django_task_safety.conf import LONGEST, conf
from django_task_safety.errors import InvalidArguments
from django_task_safety.ledger import cancellation
from django_task_safety.record import OperationRows
from django_task_safety.values.clock import After, Now, now_sql
from django_task_safety.values.identity import Identity
from django_task_safety.values.people import text_of_user


def _lateness(given: timedelta | float) -> float:
    number = given.total_seconds() if isinstance(given, timedelta) else given
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= LONGEST:
        raise InvalidArguments(f"stuck({given!r}): it takes a number of seconds from 0, or a timedelta.")
    return number


#: What the rows that one statement read have in common: a dict, empty until somebody puts something into it.
READ_WITH = "read_with"


class _SharedField(models.DateTimeField):  # type: ignore[type-arg]
    """Reads the moment of a statement as the dict that all its rows share."""

    def __init__(self) -> None:
        super().__init__()
        self._last: tuple[Any, dict[str, Any]] = (None, {})

    def from_db_value(self, value: Any, *args: Any) -> dict[str, Any]:
        """Return the same dict as for the row before, if that was read by the same statement."""
        if self._last[0] != value:
            self._last = value, {}
        return self._last[1]


class _Statement(Now):
    """The moment of the statement, the same in each of its rows, as a `_SharedField`."""

    def __init__(self) -> None:
        super().__init__(output_field=_SharedField())

    def as_sql(self, compiler: Any, connection: Any, *args: Any, **extra: Any) -> Any:
        # SQLite knows the time of a row, unless it is asked for that beside the rows.
        return f"(SELECT {now_sql(connection)})", []


class OperationQuerySet(OperationRows):
    """A queryset of operations."""

    def for_object(self, obj: models.Model) -> OperationQuerySet:
        """Those whose subject is ``obj``.

        Raises:
            InvalidArguments: If ``obj`` is no model instance, or was never saved.
        """
        return self.filter(**Identity.of(obj).columns)

    def stuck(self, for_: timedelta | float | None = None) -> OperationQuerySet:
        """Those that should have moved and did not: due, by more than ``for_``, and nobody took them.

        Why, is what ``operation.why`` says of each; all of the same page together cost a statement or two more.

        Args:
            for_: A number of seconds from 0 or a timedelta; the default is ``REPUBLISH_AFTER``.

        Raises:
            InvalidArguments: If ``for_`` is neither.
        """
        late = After(-(conf().REPUBLISH_AFTER if for_ is None else _lateness(for_)))
        queued = Q(state=self.model.State.QUEUED, available_at__lt=late)
        stuck = self.filter(queued | Q(state=self.model.State.RUNNING, due_at__lt=late))
        return cast(OperationQuerySet, stuck.annotate(**{READ_WITH: _Statement()}))

    def requested_by(self, user: Any) -> OperationQuerySet:
        """Those that a user asked for: a user, or a user's primary key."""
        text = text_of_user(user)
        return self.filter(requested_by=text) if text else self.none()

    def cancel(self, reason: str = "cancelled", by: Any = None) -> int:
        """Cancel the pending ones among these, in the current transaction, in a fixed number of statements.

        Args:
            reason: Kept in ``error``.
            by: The user who does it, or the user's primary key; kept in ``events``.

        Returns:
            How many this ended.
        """
        return cancellation.cancel_all(self, reason, by)

    cancel.alters_data = True  # type: ignore[attr-defined]


_OperationManager = models.Manager.from_queryset(OperationQuerySet)


class AllRowsManager(_OperationManager[Any]):
    """Every row, always on the database that ``TASK_SAFETY["DATABASE"]`` names."""

    def get_queryset(self) -> OperationQuerySet:
        found = cast(OperationQuerySet, super().get_queryset())
        return found if self._db else found.using(conf().DATABASE)


class OperationManager(AllRowsManager):
    """The operations, without the duplicates' rows, which only wait for another one.

    One that was replaced by another operation waits for that too, but it is what its caller asked for.
    """

    def get_queryset(self) -> OperationQuerySet:
        return super().get_queryset().filter(Q(waits_for=None) | Q(replaced=True))
