"""What a new operation holds on to: its object's row, there and not removed, until the operation's row is committed.

The inserting transaction takes the lock that a foreign key would take, so that it and a delete of the object wait for
each other. On PostgreSQL (KEY SHARE) ordinary updates of the object disturb nobody; InnoDB has no lock as weak, and
there an enqueue also waits for a transaction that has written the object's row.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

from django.apps import apps
from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from model_utils.models import SoftDeletableModel

from django_task_safety.conf import conf
from django_task_safety.errors import ObjectGone
from django_task_safety.fields import exact_collation
from django_task_safety.ledger.statements import first_row
from django_task_safety.record import AbstractOperation
from django_task_safety.values.identity import Identity, pk_field, pk_of, pk_text

#: Invariant: the object is held.
#: The weakest lock that a delete of the row conflicts with. SQLite has one writer at a time.
_STRENGTH = {"postgresql": " FOR KEY SHARE", "mysql": " LOCK IN SHARE MODE"}


@dataclasses.dataclass(frozen=True, slots=True)
class SubjectRow:
    """The object's row: root model, primary key as text, database alias."""

    model: type[models.Model]
    pk: str
    using: str

    @property
    def here(self) -> bool:
        """Whether it is in the operations' database, so that one statement can hold it and insert."""
        return self.using == conf().DATABASE

    def sql(self, connection: BaseDatabaseWrapper, condition: str = "") -> tuple[str, list[Any]]:
        """Return ``FROM … WHERE … FOR KEY SHARE`` and its parameters: one row, or none where the object is gone."""
        sql, params = self._found(connection)
        return f"{sql}{condition}{_STRENGTH.get(connection.vendor, '')}", params

    def gone(self) -> ObjectGone:
        """Return the error that says so."""
        said = Identity(self.model._meta.label_lower, self.pk, self.using)
        return ObjectGone(f"{said} does not exist any more, or is removed.")

    def exists(self) -> bool:
        """Return whether the object is there, looking without a lock."""
        connection = connections[self.using]
        sql, params = self._found(connection)
        return first_row(connection, f"SELECT 1 {sql}", params) is not None

    def _found(self, connection: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
        sql, params = _where(connection, self.model)
        sql, params = f"{sql} = %s", [*params, _param(connection, self.model, self.pk)]
        exact = exact_collation(connection)
        if exact is None or not isinstance(pk_field(self.model), models.CharField | models.TextField):
            return sql, params
        # The index finds what the column's own collation takes for equal.
        column = connection.ops.quote_name(_pk_column(self.model))
        return f"{sql} AND CONVERT({column} USING utf8mb4) COLLATE {exact} = %s", [*params, self.pk]


def subject_row_of(operation: AbstractOperation, model: type[models.Model]) -> SubjectRow:
    """Return the row of an operation's object: its root's, or the one that says whether it is removed."""
    root: type[models.Model] = apps.get_model(operation.subject_label)
    if issubclass(model, SoftDeletableModel):
        root = model._meta.get_field("is_removed").model
    return SubjectRow(root, operation.subject_id, operation.subject_database)


def lock_rows(rows: Iterable[SubjectRow]) -> None:
    """Hold many objects' rows until the end of the transaction: one statement for each model. Raises `ObjectGone` if
    one of them is not there."""
    by_model: dict[tuple[type[models.Model], str], dict[str, SubjectRow]] = {}
    for subject_row in rows:
        by_model.setdefault((subject_row.model, subject_row.using), {})[subject_row.pk] = subject_row
    for (model, using), wanted in sorted(by_model.items(), key=lambda item: item[0][0]._meta.label):
        _lock_rows(model, using, wanted)


def _lock_rows(model: type[models.Model], using: str, wanted: dict[str, SubjectRow]) -> None:
    connection = connections[using]
    sql, params = _where(connection, model)
    column = connection.ops.quote_name(_pk_column(model))
    strength = _STRENGTH.get(connection.vendor, "") if connection.in_atomic_block else ""
    pks = [_param(connection, model, pk) for pk in sorted(wanted)]
    with connection.cursor() as cursor:
        marks = ", ".join(["%s"] * len(pks))
        cursor.execute(f"SELECT {column} {sql} IN ({marks}) ORDER BY {column}{strength}", [*params, *pks])
        found = {pk_text(model, pk) for (pk,) in cursor.fetchall()}
    for pk, subject_row in wanted.items():
        if pk not in found:
            raise subject_row.gone()


def _where(connection: BaseDatabaseWrapper, model: type[models.Model]) -> tuple[str, list[Any]]:
    """Return ``FROM … WHERE (not removed) AND pk``, to be continued with a comparison."""
    quote = connection.ops.quote_name
    table = quote(model._meta.db_table)
    live = ""
    if issubclass(model, SoftDeletableModel):
        live = f"{table}.{quote(str(model._meta.get_field('is_removed').column))} = %s AND "
    return f"FROM {table} WHERE {live}{table}.{quote(_pk_column(model))}", [False] if live else []


def _pk_column(model: type[models.Model]) -> str:
    column = pk_of(model).column
    assert column is not None
    return column


def _param(connection: BaseDatabaseWrapper, model: type[models.Model], pk: str) -> Any:
    field = pk_of(model)
    return field.get_db_prep_value(field.to_python(pk), connection)
