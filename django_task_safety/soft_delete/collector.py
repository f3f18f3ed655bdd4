"""Remove objects softly, by the rules by which Django deletes: its collector, with another ending."""

import uuid
from collections import Counter
from collections.abc import Iterable
from contextvars import ContextVar
from datetime import datetime
from operator import attrgetter
from typing import Any

from django.db import models, transaction
from django.db.models import signals
from django.db.models.deletion import Collector, RestrictedError

from django_task_safety.objects import delete_guard
from django_task_safety.objects.snapshot import Snapshot
from django_task_safety.soft_delete import detachment
from django_task_safety.soft_delete.rows import by_class, by_holder, cascades, holder, is_soft, key_in, rows
from django_task_safety.values import clock
from django_task_safety.values.chunks import chunk_size, chunks

#: The removal that is going on.
_removal: ContextVar[uuid.UUID | None] = ContextVar("django_task_safety_removal", default=None)


class ByClass(Collector):
    """Django's collector, for objects of several classes as well: of subclasses, as some querysets yield them."""

    def collect(self, objs: Any, *args: Any, fail_on_restricted: bool = True, **kwargs: Any) -> None:
        classes = {} if self.can_fast_delete(objs) else by_class(objs)
        if len(classes) < 2:
            self.collect_class(objs, *args, fail_on_restricted=fail_on_restricted, **kwargs)
            return
        for found in classes.values():
            # What restricts one of them may go with another.
            self.collect_class(found, *args, fail_on_restricted=False, **kwargs)
        if fail_on_restricted:
            self._refuse_restricted()

    def collect_class(self, objs: Any, *args: Any, **kwargs: Any) -> None:
        """Collect objects of one class, and what goes with them."""
        super().collect(objs, *args, **kwargs)

    def _refuse_restricted(self) -> None:
        for model, found in self.data.items():
            self.clear_restricted_objects_from_set(model, set(found))
        for queryset in self.fast_deletes:
            self.clear_restricted_objects_from_queryset(queryset.model, queryset)
        restricting = {obj for fields in self.restricted_objects.values() for objs in fields.values() for obj in objs}
        if restricting:
            names = ", ".join(sorted({obj._meta.label for obj in restricting}))
            raise RestrictedError(f"They are referenced through restricted foreign keys: {names}.", restricting)


class SoftRules(ByClass):
    """Collects what goes with an object that is removed softly.

    What differs from Django's: children that are not soft-deletable stay, as their object does; rows that are removed
    already neither go again nor protect anything.
    """

    def __init__(self, using: str, origin: Any) -> None:
        super().__init__(using, origin=origin)
        # A cascade that is left to the database never happens, since nothing is deleted there.
        self.force_collection = True

    def can_fast_delete(self, objs: Any, from_field: Any = None) -> bool:
        return False

    def _has_signal_listeners(self, model: type[models.Model]) -> bool:
        # Whole rows, so that looking at one takes no further statement.
        return True

    def collect_class(self, objs: Any, *args: Any, **kwargs: Any) -> None:
        queryset = isinstance(objs, models.QuerySet)
        model = objs.model if queryset else type(objs[0]) if objs else None
        if not is_soft(model):
            return
        if queryset and objs._result_cache is None:
            objs = objs.filter(is_removed=False)
        elif kwargs.get("collect_related", True):
            objs = [obj for obj in objs if not obj.is_removed]
        super().collect_class(objs, *args, **kwargs)

    def get_del_batches(self, objs: Any, fields: Any) -> list[Any]:
        # Django's leave no room for what `related_objects` adds.
        return list(chunks(objs, chunk_size(self.using) // max(len(fields), 1)))

    def related_objects(self, related_model: Any, related_fields: Any, objs: Any) -> models.QuerySet[Any]:
        found = super().related_objects(related_model, related_fields, objs)
        if is_soft(related_model):
            return found.filter(is_removed=False)
        # What would stay need not be fetched.
        return found.none() if cascades(related_fields[0].remote_field.on_delete) else found

    def add_field_update(self, field: Any, value: Any, objs: Any) -> None:
        # On MySQL, Django's CASCADE clears the foreign key of what it deletes.
        if not cascades(field.remote_field.on_delete):
            super().add_field_update(field, value, objs)


class SoftCollector(SoftRules):
    """Collects, and marks what it has collected as removed."""

    def __init__(self, using: str, origin: Any) -> None:
        super().__init__(using, origin)
        self._roots: list[models.Model] = []
        #: The rows that are locked, by the table that says whether they are removed: whether they are live.
        self._live: dict[type[models.Model], dict[Any, bool]] = {}
        #: The database's time; None while no live row is locked.
        self._removed_at: datetime | None = None

    def remove(self, objs: Any) -> tuple[int, dict[str, int]]:
        """Remove live objects of one model, and what goes with them; returns and raises as their ``delete()`` does."""
        self._roots = list(objs)
        with transaction.atomic(using=self.using):
            with delete_guard.soft_collecting():
                self.collect(self._roots)
            self.data = {model: sorted(found, key=attrgetter("pk")) for model, found in self.data.items()}
            self.sort()
            if self._removed_at is None:
                return 0, {}
            # What receivers remove goes together with it.
            removal = _removal.get() or uuid.uuid4()
            token = _removal.set(removal)
            try:
                return self._remove(removal)
            finally:
                _removal.reset(token)

    def collect_class(self, objs: Any, *args: Any, **kwargs: Any) -> None:
        # Locked before it is looked what hangs on them, so that this is what is removed: no child of one that somebody
        # else has removed, and all that somebody has restored with one.
        if len(objs) and is_soft(type(objs[0])):
            ByClass.collect_class(self, self._lock(list(objs)), *args, **kwargs)

    def _remove(self, removal: uuid.UUID) -> tuple[int, dict[str, int]]:
        objs = [obj for found in self.data.values() for obj in found]
        self._send(signals.pre_delete, objs)
        for (field, value), groups in self.field_updates.items():
            detachment.detach(removal, field, value, groups, self.using)
        values = {"is_removed": True, "removed_at": self._removed_at, "removal": removal}
        for model, keys in by_holder(objs).items():
            for chunk in chunks(keys):
                rows(model, self.using).filter(pk__in=chunk, is_removed=False).update(**values)
        for obj in objs:
            vars(obj).update(values)
            Snapshot.update(obj, values)
        for found in filter(None, self.data.values()):
            delete_guard.cancel(list(found), self.using, removed=True)
        self._send(signals.post_delete, reversed(objs))
        # A proxy's row is counted once, under the name by which it was found first.
        counts = Counter({obj: type(obj)._meta.label for obj in reversed(objs)}.values())
        return sum(counts.values()), dict(counts)

    def _lock(self, objs: list[models.Model]) -> list[models.Model]:
        """Lock the rows of objects of one model; return those that nobody has removed or deleted meanwhile."""
        model = holder(type(objs[0]))
        live = self._live.setdefault(model, {})
        new = [obj for obj in objs if key_in(model, obj) not in live]
        if new:
            delete_guard.lock(new, self.using, self._look)
        keys = sorted({key_in(model, obj) for obj in new})
        live.update(dict.fromkeys(keys, False))
        for chunk in chunks(keys):
            found = rows(model, self.using).filter(pk__in=chunk, is_removed=False).select_for_update()
            for key, read_at in found.order_by("pk").values_list("pk", clock.Now()):
                live[key] = True
                self._removed_at = self._removed_at or read_at
        return [obj for obj in objs if live[key_in(model, obj)]]

    def _look(self) -> None:
        """Be refused before waiting for whoever writes one of the rows."""
        rules, classes = SoftRules(self.using, self.origin), by_class(self._roots)
        for found in classes.values():
            ByClass.collect_class(rules, found, fail_on_restricted=len(classes) == 1)

    def _send(self, signal: Any, objs: Iterable[models.Model]) -> None:
        for obj in objs:
            signal.send(sender=type(obj), instance=obj, using=self.using, origin=self.origin, soft=True)
