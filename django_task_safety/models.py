"""The one table: an operation's row is its registry entry, outbox entry, claim, processed marker and status."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Self

from django.db import models

from django_task_safety.conf import seconds
from django_task_safety.errors import InvalidArguments
from django_task_safety.fleet import reasons
from django_task_safety.ledger import cancellation, history, parents
from django_task_safety.ledger.history import AttemptRecord, EventRecord
from django_task_safety.ledger.querysets import AllRowsManager, OperationManager, OperationQuerySet
from django_task_safety.locking.lockable import LockableModel
from django_task_safety.objects.pending import PendingOperationsModel
from django_task_safety.producer import outcome, requeue
from django_task_safety.record import AbstractOperation
from django_task_safety.soft_delete.constraints import LiveUniqueConstraint
from django_task_safety.soft_delete.detachment import Detachment
from django_task_safety.soft_delete.model import SoftDeleteModel
from django_task_safety.values import status_links
from django_task_safety.values.identity import Identity
from django_task_safety.worker import progress
from django_task_safety.worker_record import AbstractQueue, AbstractWorker

__all__ = [
    "Detachment",
    "LiveUniqueConstraint",
    "LockableModel",
    "Operation",
    "PendingOperationsModel",
    "Queue",
    "SoftDeleteModel",
    "Worker",
]


class Operation(AbstractOperation):
    """One piece of work, from the moment it is asked for until its outcome is pruned."""

    #: The work: one row per key.
    objects = OperationManager()
    #: The same and the rows of duplicates that wait for one of them, and repeat its outcome under an id of their own.
    all_rows = AllRowsManager()

    class Meta(AbstractOperation.Meta):
        abstract = False

    @classmethod
    def from_db(cls, *args: Any, **kwargs: Any) -> Self:
        """Leave the progress of a parent to be read from its chunks when it is asked for."""
        operation = super().from_db(*args, **kwargs)
        if parents.is_open_parent(operation):
            operation.__dict__.pop("progress", None)
        return operation

    def refresh_from_db(
        self,
        using: str | None = None,
        fields: Iterable[str] | None = None,
        from_queryset: models.QuerySet[Operation] | None = None,
    ) -> None:
        """Read the columns anew, and the progress of a parent from its chunks."""
        if fields is not None and list(fields) == ["progress"] and parents.is_open_parent(self):
            parents.load_progress([self])
            return
        super().refresh_from_db(using, fields, from_queryset)
        if parents.is_open_parent(self):
            self.__dict__.pop("progress", None)

    @property
    def parent(self) -> Operation | None:
        """The operation of which this is a chunk, see `django_task_safety.split`; None where it is none."""
        return Operation.objects.filter(pk=self.parent_id).first() if self.parent_id is not None else None

    @property
    def children(self) -> OperationQuerySet:
        """Its chunks, see `django_task_safety.split`, in order."""
        return Operation.all_rows.filter(parent_id=self.pk).order_by("pk")

    @property
    def subject(self) -> models.Model | None:
        """The object it is about, freshly loaded; None when there is none or it is gone."""
        return Identity.stored(self).load()

    @property
    def result(self) -> Any:
        """The return value of the successful attempt; None in any other state.

        Raises:
            InvalidPayload: If the stored text cannot be read any more.
        """
        return outcome.result_of(self)

    @property
    def attempts(self) -> list[AttemptRecord]:
        """The attempts that ended, oldest first, the last 20; none where the first one succeeded."""
        return history.attempts(self)

    @property
    def events(self) -> list[EventRecord]:
        """Each cancel, retry and rerun that somebody asked for, oldest first, the last 20."""
        return history.events(self)

    @property
    def why(self) -> str:
        """Why it does not move, in a sentence; "" where it is not due, or runs under a lease.

        Of the rows of ``OperationQuerySet.stuck()`` all that were read together share the one look at the workers.
        """
        return reasons.why(self)

    def cancel(self, reason: str = "cancelled", by: Any = None) -> bool:
        """Cancel it in the current transaction, whether queued, scheduled or running.

        Args:
            reason: Kept in ``error``.
            by: The user who does it, or the user's primary key; kept in `events`.

        Returns:
            Whether this ended a pending operation; False where there was nothing to end.
        """
        return cancellation.cancel(self, reason, by)

    def retry(self, by: Any = None) -> bool:
        """Queue a failed or cancelled operation again, with its stored arguments and all its attempts.

        Args:
            by: The user who does it, or the user's primary key; kept in `events`.

        Returns:
            Whether it was reopened; False when it is pending or succeeded.
        """
        return requeue.retry(self, by)

    def rerun(self, by: Any = None) -> bool:
        """Queue an operation that succeeded once more, as new work: its effects happen again, under another
        `idempotency_key`.

        Args:
            by: The user who does it, or the user's primary key; kept in `events`.

        Returns:
            Whether it was reopened; False when it has not succeeded.
        """
        return requeue.rerun(self, by)

    def status_url(self, signed: bool = False, max_age: float | timedelta = 3600, *, can_cancel: bool = False) -> str:
        """Return the path of its status page.

        Args:
            signed: Whether whoever has the link may see the operation, without an account.
            max_age: Seconds, or a timedelta, after which a signed link is worth nothing.
            can_cancel: Whether whoever has the signed link may cancel the operation, too.

        Raises:
            UrlsNotIncluded: If ``django_task_safety.urls`` is not in the project's URLs.
            InvalidArguments: If ``max_age`` is no positive duration, or ``can_cancel`` is given without ``signed``.
        """
        if not signed and can_cancel:
            raise InvalidArguments("status_url(can_cancel=True) is about signed links: say signed=True as well.")
        grant = status_links.Grant.CANCEL if can_cancel else status_links.Grant.SEE
        try:
            link = status_links.sign(self.pk, seconds(max_age), grant) if signed else ""
        except ValueError as exc:
            raise InvalidArguments(f"status_url(max_age={max_age!r}): it takes {exc}.") from None
        return status_links.address("operation", self.pk, link)

    def check_cancelled(self) -> None:
        """Raise when the attempt that runs this should stop.

        Raises:
            OperationCancelled: If it was cancelled, or if this attempt lost its lease to another one.
        """
        progress.check_cancelled(self)

    def report(self, current: float, total: float | None = None, message: str = "") -> None:
        """Record progress, and raise when the attempt should stop.

        Args:
            current: Units done; with no ``total``, a fraction from 0 to 1.
            total: Units in all.
            message: Up to 255 characters for people.

        Raises:
            OperationCancelled: As `check_cancelled` does.
        """
        progress.report(self, current, total, message)


class Worker(AbstractWorker):
    """A running worker, as it last said."""

    class Meta(AbstractWorker.Meta):
        pass


class Queue(AbstractQueue):
    """Latency and heartbeat of one queue, as its workers last measured them."""

    class Meta(AbstractQueue.Meta):
        pass
