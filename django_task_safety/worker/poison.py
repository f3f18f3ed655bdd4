"""Rows over which a sweep fails: each is handled apart, set back, and ended, so that none holds up others."""

import logging
import uuid
from collections.abc import Callable, Sequence

from django.db import InterfaceError, OperationalError, transaction

from django_task_safety import ledger
from django_task_safety.conf import conf
from django_task_safety.errors import Unpublishable
from django_task_safety.ledger import schedule, table
from django_task_safety.values import codec
from django_task_safety.worker import recovery

logger = logging.getLogger("django_task_safety")

#: A row over which a sweep fails is looked at again after REPUBLISH_AFTER times 1, 2, 4, … up to this.
_FACTOR_MAX = 16
#: So often a sweep may fail over one row.
_TRIES = 10


def is_outage(exc: BaseException) -> bool:
    """Return whether the database does not answer, so that nothing is said of any row."""
    return isinstance(exc, OperationalError | InterfaceError) and not table.connection().is_usable()


def ends_the_sweep(exc: BaseException) -> bool:
    """Return whether it ends the sweep: nothing answers, or whoever sits at the command interrupts it."""
    return isinstance(exc, KeyboardInterrupt) or is_outage(exc)


def each_apart(pks: Sequence[uuid.UUID], handle: Callable[[uuid.UUID], object]) -> int:
    """Handle rows one by one, and set back those with which that fails; return how many those were."""
    failed = 0
    for pk in pks:
        try:
            handle(pk)
        except BaseException as exc:  # a project's hooks may raise anything
            if ends_the_sweep(exc):
                raise
            failed += set_back(pk, exc)
    return failed


def set_back(pk: uuid.UUID, exc: BaseException) -> int:
    """Leave a row alone for a growing time, since a sweep failed over it; after some tries end its operation.

    Returns:
        1, or 0 where the row is gone, or somebody else has locked it.
    """
    failed = table.by_id(pk).values_list("failed_sweeps", flat=True).first()
    if failed is None:
        return 0
    fields = {"operation": str(pk)}  # whatever else the row says may be what fails
    text = "operation %s: a sweep failed over it (%d of %d times)"
    logger.error(text, pk, failed + 1, _TRIES, exc_info=exc, extra=fields)
    if failed + 1 < _TRIES:
        return schedule.set_back(pk, conf().REPUBLISH_AFTER * min(2**failed, _FACTOR_MAX))
    return int(_finish(pk, f"It could not be swept: {codec.describe(exc)}"))


def _finish(pk: uuid.UUID, reason: str) -> bool:
    """End an operation as one that cannot be published, with its compensations, if that can be done; or by itself.
    False where somebody else has locked the row: the next sweep comes back to it."""
    try:
        row = table.find(pk=pk)
        if row is not None and row.is_pending and recovery.discard_one(row, Unpublishable, reason, notified=False):
            return True
    except Exception:
        logger.exception("operation %s: nothing compensates for it", pk, extra={"operation": str(pk)})
    with transaction.atomic(using=conf().DATABASE):
        # No other column: any may be what nobody can cope with.
        if not table.locked(table.by_id(pk).only("pk")):
            return False
        failure = ledger.Failure(codec.printable(f"Unpublishable: {reason}"))
        if not ledger.discard_unsweepable(table.by_id(pk), failure):
            schedule.forget(pk)
    return True
