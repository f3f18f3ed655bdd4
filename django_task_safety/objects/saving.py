"""``save()`` writes what changed since the instance was loaded, and never brings back a row that is gone.

Django's own ``save()`` writes every column, which reverts what others wrote meanwhile, and inserts the row again where
its UPDATE finds none. Here the UPDATE is left with the columns that differ from those that were loaded, and where it
finds no row, that is the answer. Signals, ``update_fields`` and what an INSERT is for stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from asgiref.sync import sync_to_async
from django.db import DatabaseError, connections, models, router, transaction

from django_task_safety.errors import ObjectGone
from django_task_safety.objects.snapshot import Snapshot, columns, is_expression, key_fields, same

#: The positional parameters of ``Model.save()`` in Django 5.2.
_POSITIONAL = ("force_insert", "force_update", "using", "update_fields")
#: Field, model, value: what Django is about to write.
Values = Iterable[tuple[Any, Any, Any]]


def save_options(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call of ``save()`` by their names."""
    return {**dict(zip(_POSITIONAL, args, strict=False)), **kwargs}


class _Save:
    """One call of ``save()``: what it may do, and what it wrote."""

    def __init__(self, instance: SavedModel, options: dict[str, Any], resurrect: bool) -> None:
        self.instance = instance
        self.using: str = options.get("using") or router.db_for_write(type(instance), instance=instance)
        loaded = Snapshot.of(instance)
        inserts = instance._state.adding or bool(options.get("force_insert"))
        self.resurrects = resurrect
        self.explicit = options.get("update_fields") is not None
        self.guarded = (
            not (resurrect or inserts)
            # Where the caller names no database, the router's choice is the same object's.
            and (options.get("using") or instance._state.db) == instance._state.db
            and (loaded is None or loaded.describes(instance))
        )
        #: Whether what is known of the instance may be about another row than the one that is written.
        self.anew = not self.guarded
        #: The columns of the table that is being written.
        self.written: dict[str, Any] = {}
        #: Refused by itself, so that nothing was written.
        self.refused = False
        #: The row is there, but not as somebody else's `_do_update` asks for.
        self.overruled = False

    def refuse(self) -> ObjectGone:
        """Return the error that says that the row is gone."""
        instance = self.instance
        self.refused = True
        return ObjectGone(
            f"{instance._meta.label} {instance.pk} was deleted or soft-deleted since it was loaded, so save() did not "
            "write it. refresh_from_db() shows what there is; save(resurrect=True) writes it all the same."
        )


def _tables_above(instance: models.Model) -> bool:
    """Return whether the instance has columns in a parent's table: multi-table inheritance."""
    return bool((instance._meta.concrete_model or type(instance))._meta.parents)


def _changed(values: Values, loaded: Snapshot | None) -> list[tuple[Any, Any, Any]]:
    """Return what differs from the columns that are known."""
    known = loaded.known if loaded else {}
    return [one for one in values if one[0].attname not in known or not same(one[2], known[one[0].attname])]


_saving: ContextVar[_Save | None] = ContextVar("django_task_safety_saving", default=None)


class SavedModel(models.Model):
    """A model whose ``save()`` writes only what changed, and raises `ObjectGone` where the row is gone."""

    class Meta:
        abstract = True

    def save(self, *args: Any, resurrect: bool = False, **kwargs: Any) -> None:
        """Save what changed since the instance was loaded; all of it where it is new.

        Args:
            *args: As Django's.
            resurrect: Write every column, and insert the row where it is gone, as Django does.
            **kwargs: As Django's.

        Raises:
            ObjectGone: If the row was deleted since. Nothing was written, and an outer atomic block can go on.
        """
        call = _Save(self, save_options(args, kwargs), resurrect)
        token = _saving.set(call)
        try:
            self._save_in_savepoint(call, args, kwargs)
        except ObjectGone:
            if call.refused and connections[call.using].in_atomic_block:
                transaction.set_rollback(False, using=call.using)
            raise
        finally:
            _saving.reset(token)

    save.alters_data = True  # type: ignore[attr-defined]

    @classmethod
    def from_db(cls, db: str | None, field_names: Any, values: Any, **options: Any) -> Any:
        new = super().from_db(db, field_names, values, **options)
        names = columns(cls)
        if len(values) != len(names):
            names = tuple(name for name in names if name in field_names)
        Snapshot.loaded(new, dict(zip(names, values, strict=True)), str(db))
        return new

    def refresh_from_db(self, using: Any = None, fields: Any = None, from_queryset: Any = None) -> None:
        names = None if fields is None else set(fields)
        before, noted, database = dict(self.__dict__), Snapshot.of(self), self._state.db
        # Mixins from before Django 5.1 do not know the third.
        options = {} if from_queryset is None else {"from_queryset": from_queryset}
        super().refresh_from_db(using=using, fields=fields, **options)
        fresh, keys = {}, key_fields(self)
        for field in self._meta.concrete_fields:
            asked = names is None or bool(names & {field.attname, field.name}) or field in keys
            if asked and field.attname in self.__dict__:
                fresh[field.attname] = self.__dict__[field.attname]
        anew = noted is None or database != self._state.db or not noted.describes(self)
        Snapshot.read(self, fresh, str(self._state.db), anew=anew)
        if from_queryset is not None:
            # It may have left out some: those still have the object that they had.
            Snapshot.forget(self, [name for name, value in fresh.items() if value is before.get(name, fresh)])

    async def asave(self, *args: Any, **kwargs: Any) -> None:
        """As `save`."""
        await sync_to_async(self.save)(*args, **kwargs)

    asave.alters_data = True  # type: ignore[attr-defined]

    def _save_in_savepoint(self, call: _Save, args: Any, kwargs: Any) -> None:
        """What has several tables may have written to one when another one refuses; what is new is refused nothing."""
        if call.guarded and _tables_above(self) and connections[call.using].in_atomic_block:
            with transaction.atomic(using=call.using):
                super().save(*args, **kwargs)
        else:
            super().save(*args, **kwargs)

    def _given(self, written: dict[str, Any]) -> dict[str, Any]:
        """What the database has given: primary keys, and what it made of expressions, where Django read it back."""
        names = {field.attname for field in key_fields(self)}
        names |= {name for name, value in written.items() if is_expression(value)}
        return {name: self.__dict__[name] for name in names if name in self.__dict__}

    def _save_condition(self, model: type[models.Model], loaded: Snapshot | None) -> dict[str, Any]:
        """Return what must still be so of the row in the table of ``model``, as arguments of ``filter()``."""
        return {}

    def _save_table(self, *args: Any, **kwargs: Any) -> Any:
        updated = super()._save_table(*args, **kwargs)  # type: ignore[misc]
        call, using = self._call(), kwargs["using"] if "using" in kwargs else args[4]
        if call is None:
            # Somebody calls save_base() itself, as fixtures do.
            Snapshot.wrote(self, self._given({}), using, inserted=not updated)
            Snapshot.forget(self, columns(type(self)))
        elif call.written:
            # Now, and not when the receivers of post_save have changed the instance, or saved it themselves.
            values = call.written | self._given(call.written)
            Snapshot.wrote(self, values, using, inserted=not updated, anew=call.anew)
            call.written, call.anew = {}, False
        return updated

    def _call(self) -> _Save | None:
        """Return the call of `save` that writes this instance now."""
        call = _saving.get()
        return call if call is not None and call.instance is self else None

    # Mixins of other packages override it too, to add a condition to `base_qs`, and call it by position or by name.
    def _do_update(self, base_qs: Any, using: Any, pk_val: Any, values: Any, *rest: Any, **named: Any) -> Any:
        call = self._call()
        if call is None:
            return super()._do_update(base_qs, using, pk_val, values, *rest, **named)
        if call.guarded:
            loaded = Snapshot.of(self)
            values = values if call.explicit else _changed(values, loaded)
            results = self._update_what_is_there(call, base_qs, using, pk_val, values, *rest, **named)
            if not results and not (loaded and loaded.insert_rolled_back):
                call.overruled = self._is_there(base_qs.model, using, pk_val)
                if not call.overruled:
                    # Invariant: gone stays gone.
                    raise call.refuse()
        else:
            if not call.resurrects:
                # A row that is no business of this instance is not brought back either: its primary key is taken.
                base_qs = base_qs.filter(**self._save_condition(base_qs.model, None))
            results = super()._do_update(base_qs, using, pk_val, values, *rest, **named)
        call.written = {field.attname: value for field, _, value in values} if results else {}
        return results

    def _is_there(self, model: type[models.Model], using: str, pk_val: Any) -> bool:
        rows = model._base_manager.using(using).filter(pk=pk_val, **self._save_condition(model, Snapshot.of(self)))
        if connections[using].in_atomic_block:
            # As the UPDATE did: not what was there when the transaction began.
            rows = rows.select_for_update()
        return rows.exists()

    def _update_what_is_there(
        self, call: _Save, base_qs: Any, using: Any, pk_val: Any, values: Any, *rest: Any, **named: Any
    ) -> Any:
        condition = self._save_condition(base_qs.model, Snapshot.of(self))
        rows = base_qs.filter(**condition)
        if not values and condition and _tables_above(self):
            # The condition is for what is written to the other tables next, too.
            rows = rows.select_for_update()
        # New in Django 6.0, the last one.
        generated: Sequence[Any] = named.get("returning_fields", rest[2] if len(rest) > 2 else ())
        if not values and not call.explicit:
            # Of an instance of which some fields were loaded, Django takes for granted that its row is there.
            rest, named = (None, *rest[1:]), {name: value for name, value in named.items() if name != "update_fields"}
        if values or not (generated or call.explicit) or (call.explicit and not condition):
            return super()._do_update(rows, using, pk_val, values, *rest, **named)
        names = [field.attname for field in generated]
        return list(rows.filter(pk=pk_val).order_by().values_list(*(names or ["pk"])))

    def _do_insert(self, manager: Any, using: Any, fields: Any, returning_fields: Any, raw: Any) -> Any:
        call = self._call()
        if call is not None and call.overruled:
            # Nor is a row brought back that has gone since.
            raise DatabaseError(f"{self._meta.label} {self.pk} was not written: its row is not as save() asks for.")
        results = super()._do_insert(manager, using, fields, returning_fields, raw)  # type: ignore[misc]
        if call is not None:
            call.written = {field.attname: self.__dict__.get(field.attname) for field in fields}
        return results

    def _prepare_related_fields_for_save(self, operation_name: str, fields: Any = None) -> None:
        # Undocumented: what bulk_create() and bulk_update() call for each instance before they write.
        super()._prepare_related_fields_for_save(operation_name, fields)  # type: ignore[misc]
        if operation_name == "bulk_create":
            using = self._state.db or router.db_for_write(type(self), instance=self)
            keys = {name: value for name, value in self._given({}).items() if value is not None}
            Snapshot.wrote(self, keys, using, inserted=True, anew=True)
        elif operation_name == "bulk_update":
            Snapshot.forget(self, [field.attname for field in fields])
