"""Indexes without the rows that have nothing to find: each change of a row is written into each index that it is in.

MySQL and MariaDB have no partial indexes, and get whole ones. SQLite does not see that a text which equals another one
is not empty, so there too the index of texts is whole.
"""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Q


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
        condition = Q((f"{self.fields[0]}__gt", "")) if partial else None
        index = models.Index(fields=self.fields, name=self.name, condition=condition)
        return index.create_sql(model, schema_editor, using, **kwargs)
