"""Columns of text that are equal only where every byte is, and indexes without the rows that nobody looks for in them.

Each change of a row is written into each index that it is in, so rows with nothing to find are left out of the indexes
of keys, locks and subjects. MySQL and MariaDB have no partial indexes, and get whole ones. SQLite does not see that a
text which equals another one is not empty, so there too the index of texts is whole.
"""

from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Q

from django_task_safety.texts import storable


class ExactCharField(models.CharField):  # type: ignore[type-arg]
    """Text by which something is told apart from everything else.

    MariaDB and MySQL take texts for equal that differ in case, accents or trailing spaces, unless a column's collation
    is binary and does not pad. The other databases compare like that anyway. What they do not store is escaped, also
    where it is looked for.
    """

    def get_prep_value(self, value: Any) -> Any:
        """Return what is stored for a value, and looked for."""
        prepared = super().get_prep_value(value)
        return storable(prepared) if isinstance(prepared, str) else prepared

    def db_parameters(self, connection: BaseDatabaseWrapper) -> Any:
        """Return type, check and collation of the column."""
        return {**super().db_parameters(connection), "collation": exact_collation(connection)}


def exact_collation(connection: BaseDatabaseWrapper) -> str | None:
    """Return the collation by which only equal bytes are equal; None where texts are compared like that anyway."""
    if connection.vendor != "mysql":
        return None
    return "utf8mb4_nopad_bin" if connection.mysql_is_mariadb else "utf8mb4_0900_bin"  # type: ignore[attr-defined]


class UniqueWhereSet(models.UniqueConstraint):
    """One column's values are unique; rows without one are not in its index."""

    def _on(self, schema_editor: Any) -> models.UniqueConstraint:
        partial = schema_editor.connection.features.supports_partial_indexes
        condition = Q((f"{self.fields[0]}__isnull", False)) if partial else None
        return models.UniqueConstraint(fields=self.fields, name=self.name, condition=condition)

    # What Django's migrations call. Not `condition`, for which there would be no index at all on MySQL.
    def constraint_sql(self, model: Any, schema_editor: Any) -> Any:
        return self._on(schema_editor).constraint_sql(model, schema_editor)

    def create_sql(self, model: Any, schema_editor: Any) -> Any:
        return self._on(schema_editor).create_sql(model, schema_editor)

    def remove_sql(self, model: Any, schema_editor: Any) -> Any:
        return self._on(schema_editor).remove_sql(model, schema_editor)


class IndexWhereSet(models.Index):
    """An index of the rows in which its first column, a text, is not empty."""

    def create_sql(self, model: Any, schema_editor: Any, using: str = "", **kwargs: Any) -> Any:
        partial = schema_editor.connection.vendor == "postgresql"
        index = models.Index(fields=self.fields, name=self.name, condition=self._rows() if partial else None)
        return index.create_sql(model, schema_editor, using, **kwargs)

    def _rows(self) -> Q:
        return Q((f"{self.fields[0]}__gt", ""))


class IndexWhereNotNull(IndexWhereSet):
    """An index of the rows that have a value in its first column."""

    def _rows(self) -> Q:
        return Q((f"{self.fields[0]}__isnull", False))


class IndexWhereNotSucceeded(IndexWhereSet):
    """An index of the rows whose first column, a state, is another one than "succeeded": nearly all end as that."""

    def _rows(self) -> Q:
        return ~Q((self.fields[0], "succeeded"))
