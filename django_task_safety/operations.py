"""Operations for the migrations of a project."""

import re
from collections.abc import Iterator
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.utils import truncate_name
from django.db.migrations.operations.base import Operation, OperationCategory
from django.db.migrations.state import ProjectState

from django_task_safety.conf import conf
from django_task_safety.errors import GuardImpossible, InvalidOption
from django_task_safety.models import Operation as TaskOperation
from django_task_safety.objects import triggers
from django_task_safety.values.identity import check_identity, pk_field, roots

#: Django 6.1 and later.
_DB_CASCADE = getattr(models, "DB_CASCADE", None)

Path = tuple[Any, ...]


class GuardDeletes(Operation):
    """Makes the database follow ``on_delete`` for rows of a model that are deleted past Django: raw SQL, cascades that
    the database does, ``_raw_delete``.

    It installs a trigger on the model's own table. A model that inherits from one with a table needs one of its own.
    The migration must depend on ``("django_task_safety", "0001_initial")``. Applying it again renews the trigger.

    Args:
        name: The model, in the app of the migration.

    Raises:
        GuardImpossible: When it is applied, if the model is unknown, unmanaged or a proxy, if the operations are in
            another database or their table is missing, or if the database cannot do it.
        InvalidArguments: Likewise, if its primary key is neither a whole number, nor a UUID, nor a string.
    """

    category = OperationCategory.SQL
    reduces_to_sql = True
    reversible = True

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not name.isidentifier():
            raise InvalidOption(f"GuardDeletes takes a model's name, as Django's own operations do, not {name!r}.")
        self.name = name

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        """Return what a migration file writes."""
        return type(self).__name__, [], {"name": self.name}

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Models do not change."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Install the triggers."""
        connection = schema_editor.connection
        for trigger in self._triggers(app_label, schema_editor, to_state):
            for sql in triggers.create(connection, trigger):
                schema_editor.execute(sql, params=None)

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Remove the triggers."""
        for trigger in self._triggers(app_label, schema_editor, to_state):
            for sql in triggers.drop(schema_editor.connection, trigger):
                schema_editor.execute(sql, params=None)

    def describe(self) -> str:
        """Return what ``migrate`` and ``sqlmigrate`` say."""
        return f"Guard deletes of model {self.name}"

    @property
    def migration_name_fragment(self) -> str:
        """What the operation adds to the name of a migration."""
        return f"guard_deletes_{self.name.lower()}"

    def _triggers(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, state: ProjectState
    ) -> list[triggers.Trigger]:
        connection = schema_editor.connection
        model = self._model(app_label, state)
        if not self.allow_migrate_model(connection.alias, model):
            return []
        _check_database(connection, model, collect_only=schema_editor.collect_sql)
        check_identity(model)
        paths: list[Path] = [()]
        if connection.vendor == "mysql":
            # There a foreign key's cascade fires no triggers: the rows above speak for those that go with them.
            paths += _cascades(model)
        return [_trigger(connection, model, root, path) for root in roots(model) for path in paths]

    def _model(self, app_label: str, state: ProjectState) -> type[models.Model]:
        try:
            model = state.apps.get_model(app_label, self.name)
        except LookupError as exc:
            raise GuardImpossible(
                f"There is no model {app_label}.{self.name} when GuardDeletes({self.name!r}) is applied: "
                "abstract models have no table, and others must be made before."
            ) from exc
        if model._meta.proxy or not model._meta.managed:
            what = "is a proxy: guard the model with the table" if model._meta.proxy else "is unmanaged"
            raise GuardImpossible(f"GuardDeletes({self.name!r}): {model._meta.label} {what}.")
        return model


class UnguardDeletes(GuardDeletes):
    """Takes away what `GuardDeletes` installed, in a migration that goes forwards; reversed, it installs it.

    Args:
        name: The model, in the app of the migration.
    """

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Remove the triggers."""
        super().database_backwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Install the triggers."""
        super().database_forwards(app_label, schema_editor, from_state, to_state)

    def describe(self) -> str:
        """Return what ``migrate`` and ``sqlmigrate`` say."""
        return f"Stop guarding deletes of model {self.name}"

    @property
    def migration_name_fragment(self) -> str:
        """What the operation adds to the name of a migration."""
        return f"unguard_deletes_{self.name.lower()}"


def _check_database(connection: BaseDatabaseWrapper, model: type[models.Model], *, collect_only: bool) -> None:
    if connection.alias != conf().DATABASE:
        raise GuardImpossible(
            f"{model._meta.label} is migrated in the database {connection.alias!r}, but the operations are in "
            f"{conf().DATABASE!r}: a trigger there cannot look at them. Let a database router's allow_migrate() keep "
            "the model out of it, or remove GuardDeletes."
        )
    if collect_only:
        return
    table = TaskOperation._meta.db_table
    if table not in connection.introspection.table_names():
        raise GuardImpossible(
            f"GuardDeletes needs the table {table}: add ('django_task_safety', '0001_initial') to the dependencies of "
            "the migration."
        )


def _trigger(
    connection: BaseDatabaseWrapper, model: type[models.Model], root: type[models.Model], path: Path
) -> triggers.Trigger:
    table = path[-1].target_field.model._meta.db_table if path else model._meta.db_table
    names = ["task_safety_guard", table, *(field.column for field in reversed(path)), model._meta.db_table]
    # One row may have several identities.
    name = re.sub(r"\W+", "_", "_".join([*names, root._meta.model_name or ""]))
    return triggers.Trigger(
        name=truncate_name(name, connection.ops.max_name_length()),
        table=table,
        label=root._meta.label_lower,
        pk=pk_field(root),
        column=_identity(model, root),
        root=None if model is root else (root._meta.db_table, _identity(root, root)),
        guarded=model._meta.db_table if path else "",
        path=tuple(
            (field.column, field.target_field.model._meta.db_table, field.target_field.column) for field in path
        ),
    )


def _identity(model: type[models.Model], root: type[models.Model]) -> str:
    """Return the column of the model's table that holds the root model's primary key.

    Raises:
        GuardImpossible: If another table holds it.
    """
    link: Any = model._meta.pk if model is root else model._meta.get_ancestor_link(root)
    field = link
    while field.model is not root and field.remote_field is not None:
        field = field.target_field
    if field is not root._meta.pk:
        raise GuardImpossible(
            f"{model._meta.label} has a primary key of its own beside the one of {root._meta.label}, by which "
            "operations know it: guard that model."
        )
    return str(link.column)


def _cascades(model: type[models.Model], path: Path = ()) -> Iterator[Path]:
    """Yield the foreign keys that lead from the model up to a row with which the database deletes the model's rows.

    Raises:
        GuardImpossible: If they lead back to where they came from.
    """
    for field in model._meta.local_fields:
        if _DB_CASCADE is None or getattr(field.remote_field, "on_delete", None) is not _DB_CASCADE:
            continue
        above: Any = field.target_field.model  # type: ignore[attr-defined]
        if above is model or any(above is one.model for one in path):
            raise GuardImpossible(
                f"{field} is a DB_CASCADE in a circle, of which this database tells no trigger: use CASCADE."
            )
        yield (*path, field)
        yield from _cascades(above, (*path, field))
