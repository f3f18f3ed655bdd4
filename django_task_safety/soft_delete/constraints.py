"""Unique among the rows that are not removed, on every database."""

from typing import Any

from django.core.checks import CheckMessage
from django.core.exceptions import ValidationError
from django.db import DEFAULT_DB_ALIAS, models
from django.db.backends.ddl_references import Columns, Statement, Table

#: The longest name of a column in MySQL.
_LONGEST = 64


class LiveUniqueConstraint(models.UniqueConstraint):
    """A unique constraint that counts only rows that are not removed.

    Where the database has no conditional constraints (MariaDB, MySQL), a generated column that is NULL for removed rows
    is part of the unique index instead.

    Args:
        fields: The names of the fields, as for ``UniqueConstraint``.
        name: The name of the constraint.
        **options: ``violation_error_code`` and ``violation_error_message``.
    """

    def __init__(self, *, fields: Any, name: str, **options: Any) -> None:
        if "condition" in options:
            raise TypeError(
                "LiveUniqueConstraint has its own condition. For a further one use UniqueConstraint with "
                "condition=Q(is_removed=False) & …, on a database that knows conditions."
            )
        super().__init__(fields=fields, name=name, condition=models.Q(is_removed=False), **options)

    def deconstruct(self) -> Any:
        _, args, kwargs = super().deconstruct()
        kwargs.pop("condition")
        return "django_task_safety.models.LiveUniqueConstraint", args, kwargs

    def check(self, model: type[models.Model], connection: Any) -> list[CheckMessage]:
        return self._about_this(super().check(model, connection))

    def _check(self, model: type[models.Model], connection: Any) -> list[CheckMessage]:
        # Its name in Django 5.2.
        return self._about_this(super()._check(model, connection))  # type: ignore[misc]

    def _about_this(self, messages: list[CheckMessage]) -> list[CheckMessage]:
        """Leave out that the constraint would not be created: it is."""
        return [message for message in messages if message.id != "models.W036"]

    def validate(self, model: Any, instance: Any, exclude: Any = None, using: str = DEFAULT_DB_ALIAS) -> None:
        """Raise where a live row has the same values, also from a form that does not show ``is_removed``."""
        try:
            super().validate(model, instance, set(exclude or ()) - {"is_removed"}, using)
        except ValidationError:
            if self.violation_error_code or self.violation_error_message != self.default_violation_error_message:
                raise
            raise instance.unique_error_message(model, self.fields) from None

    def constraint_sql(self, model: Any, schema_editor: Any) -> Any:
        if schema_editor.connection.features.supports_partial_indexes:
            return super().constraint_sql(model, schema_editor)
        schema_editor.deferred_sql.append(self._add(model, schema_editor))
        return None

    def create_sql(self, model: Any, schema_editor: Any) -> Any:
        if schema_editor.connection.features.supports_partial_indexes:
            return super().create_sql(model, schema_editor)
        return self._add(model, schema_editor)

    def remove_sql(self, model: Any, schema_editor: Any) -> Any:
        if schema_editor.connection.features.supports_partial_indexes:
            return super().remove_sql(model, schema_editor)
        quote = schema_editor.quote_name
        return Statement(
            f"ALTER TABLE %(table)s DROP INDEX {quote(self.name)}, DROP COLUMN {quote(self._column)}",
            table=Table(model._meta.db_table, quote),
        )

    @property
    def _column(self) -> str:
        return f"{self.name[: _LONGEST - 5]}_live"

    def _add(self, model: Any, schema_editor: Any) -> Statement:
        quote, meta = schema_editor.quote_name, model._meta
        columns = [meta.get_field(name).column for name in self.fields]
        live = quote(self._column)
        return Statement(
            f"ALTER TABLE %(table)s ADD COLUMN {live} TINYINT AS (IF(%(removed)s, NULL, 1)) VIRTUAL, "
            f"ADD CONSTRAINT {quote(self.name)} UNIQUE (%(columns)s, {live})",
            table=Table(meta.db_table, quote),
            removed=Columns(meta.db_table, [meta.get_field("is_removed").column], quote),
            columns=Columns(meta.db_table, columns, quote),
        )
