"""Delete what ended long ago, in batches that hold up nobody."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db import transaction
from django.db.models import DateTimeField, ExpressionWrapper, F, Q

from django_task_safety.conf import conf
from django_task_safety.ledger import table
from django_task_safety.ledger.finish import prune as delete
from django_task_safety.record import AbstractOperation, OperationRows
from django_task_safety.values.clock import After, Now


def past(older_than: float | None = None) -> OperationRows:
    """Return the ended operations that need not be kept.

    Args:
        older_than: Those that ended so many seconds ago, whatever their tasks' retention, unless somebody is still to
            hear how; None: those past their own.
    """
    ended = table.rows().exclude(state__in=AbstractOperation.PENDING)
    if older_than is not None:
        # The index leads to when they were created, which is before they end.
        limit = After(-older_than)
        return ended.filter(created_at__lte=limit, ended_at__lte=limit, delivered=True)
    kept = ExpressionWrapper(F("ended_at") + F("retention"), output_field=DateTimeField())
    over: OperationRows = ended.annotate(_kept=kept).filter(Q(delivered=True) | Q(_kept__lte=Now()), due_at__lte=Now())
    return over


def prune(older_than: float | None = None, batch: int = 500) -> Iterator[int]:
    """Delete them, and yield after each batch how many; what somebody else holds is left."""
    found, moment = past(older_than), "due_at" if older_than is None else "created_at"
    last: tuple[Any, Any] | None = None
    while rows := _next(found, moment, last, batch):
        last = rows[-1]
        with transaction.atomic(using=conf().DATABASE):
            free = table.locked(found.filter(pk__in=[pk for _, pk in rows]).only("pk"))
            deleted = delete(table.by_id(*(row.pk for row in free))) if free else 0
        yield deleted


def _next(found: OperationRows, moment: str, last: tuple[Any, Any] | None, size: int) -> list[tuple[Any, Any]]:
    if last is not None:
        at, pk = last
        later = Q(**{f"{moment}__gt": at}) | Q(pk__gt=pk)
        found = found.filter(later, **{f"{moment}__gte": at})
    return list(found.order_by(moment, "pk").values_list(moment, "pk")[:size])
