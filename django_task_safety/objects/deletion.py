"""Objects that are deleted together: what is pending on them, and their rows' locks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from django.db import connections, models, transaction
from django.db.models import Q

from django_task_safety.conf import conf
from django_task_safety.context import current_attempt, current_operation
from django_task_safety.ledger import cancellation, table
from django_task_safety.ledger.enqueue import enqueued
from django_task_safety.objects import conflicts, triggers
from django_task_safety.objects.conflicts import LISTED
from django_task_safety.options import CANCEL, KEEP, PROTECT
from django_task_safety.record import OperationRows, State
from django_task_safety.values.chunks import chunk_size, chunks
from django_task_safety.values.identity import Identity, database_of, pk_of, pk_text, roots


@dataclasses.dataclass(slots=True)
class Deletion:
    """The objects of one model that are deleted together, and what is known of their operations."""

    model: type[models.Model]
    #: Their identities: root models, the primary keys there, and the database. No objects: they keep this themselves.
    keys: list[tuple[type[models.Model], list[Any]]]
    using: str
    database: str
    #: A soft delete: operations that are kept still get their object.
    removed: bool
    #: The policies of their pending operations.
    policies: set[str] = dataclasses.field(default_factory=set)
    #: Whether the rows are locked, so that nothing comes in any more.
    held: bool = False
    #: How many operations this thread had written when the rows were locked.
    enqueued: int = 0
    begun: bool = False
    ended: bool = False

    @classmethod
    def of(cls, objs: Sequence[models.Model], using: str, *, removed: bool) -> Deletion:
        """Return what is to be found out of objects of one model, or of its subclasses too."""
        keys: dict[type[models.Model], list[Any]] = {}
        above = {model: roots(model) for model in set(map(type, objs))}
        for obj in objs:
            for root in above[type(obj)]:
                keys.setdefault(root, []).append(getattr(obj, pk_of(root).attname))
        return cls(type(objs[0]), list(keys.items()), using, database_of(objs[0], using), removed)

    @property
    def here(self) -> bool:
        """Whether the objects are in the operations' database; otherwise one follows the other's commit."""
        return self.using == conf().DATABASE

    def look(self) -> None:
        """Note the policies of the pending operations: one statement. Raises `ObjectLocked` if one of them protects."""
        self.policies = set()
        for found in self._pending():
            self.policies.update(found.order_by().values_list("on_delete", flat=True).distinct())
        # Invariant: protected stays.
        if PROTECT in self.policies:
            protecting = [row for found in self._pending() for row in found.filter(on_delete=PROTECT)[:LISTED]]
            if protecting:
                raise conflicts.locked(protecting, "cannot be deleted")

    def lock(self, before_waiting: Callable[[], object] = lambda: None) -> None:
        """Lock the objects' rows and look; where something protects them, without waiting for whoever has a row. Raises
        `ObjectLocked` if a pending operation protects them, or ``before_waiting`` refuses."""
        features = connections[self.using].features
        if not self.here or not features.has_select_for_update:
            self.look()
        elif not features.has_select_for_update_skip_locked:
            self.look()
            self.lock_rows()
            self.look()
        else:
            everything = self.lock_rows(skip_locked=True)
            self.look()
            if not everything:
                before_waiting()
                self.lock_rows()
                self.look()
        self.held, self.enqueued = True, enqueued.get()

    def lock_rows(self, **options: Any) -> bool:
        """Lock the rows; return whether those were all."""
        count = 0
        for root, pks in self._rows():
            rows = root._base_manager.using(self.using).filter(pk__in=pks).order_by("pk")
            count += len(rows.select_for_update(**options).values_list("pk"))
        return count == sum(len(pks) for _, pks in self._rows())

    def cancel(self) -> None:
        """Cancel what the policies say, when the objects go: where they are elsewhere, when they are gone."""
        going = {CANCEL} if self.removed else {CANCEL, KEEP}
        if not self.policies & going:
            return
        if self.here:
            self._cancel()
        else:
            transaction.on_commit(self._cancel, using=self.using, robust=True)

    def _cancel(self) -> None:
        going = Q(on_delete=CANCEL)
        if not self.removed:
            # A running one has its object already; one that waits would not find it.
            going |= Q(on_delete=KEEP, state=State.QUEUED)
        for found in self._pending():
            cancellation.cancel_with_object(
                found.filter(going), conflicts.DELETED.format(label=self.model._meta.label_lower)
            )

    def exempt(self) -> None:
        """Where the task that runs here deletes its own object, have the database's triggers spare it too."""
        attempt = current_attempt()
        if attempt is None or not self.here:
            return
        own = Identity.stored(attempt.operation)
        keys = ((root._meta.label_lower, pk_text(root, pk), self.database) for root, pks in self._rows() for pk in pks)
        if own in keys:
            triggers.exempt(connections[self.using], attempt)

    def _pending(self) -> Iterator[OperationRows]:
        """Yield the pending operations on the objects, but not the one that runs here, a statement for each chunk."""
        running = current_operation()
        for root, pks in self._rows():
            texts = [pk_text(root, pk) for pk in pks]
            found = table.about(root._meta.label_lower, texts, self.database).pending().exclude(conflicts.LAPSED)
            yield found if running is None else found.exclude(pk=running.pk)

    def _rows(self) -> Iterator[tuple[type[models.Model], Sequence[Any]]]:
        """Yield the identities in chunks."""
        size = chunk_size(self.using, conf().DATABASE)
        for root, pks in self.keys:
            for chunk in chunks(pks, size):
                yield root, chunk
