"""Columns of text that are equal only where every byte is."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper


class ExactCharField(models.CharField):  # type: ignore[type-arg]
    """Text by which something is told apart from everything else.

    MariaDB and MySQL take texts for equal that differ in case, accents or trailing spaces, unless a column's collation
    is binary and does not pad. The other databases compare like that anyway.
    """

    def db_parameters(self, connection: BaseDatabaseWrapper) -> Any:
        """Return type, check and collation of the column."""
        exact: str | None = None
        if connection.vendor == "mysql":
            exact = "utf8mb4_nopad_bin" if connection.mysql_is_mariadb else "utf8mb4_0900_bin"  # type: ignore[attr-defined]
        return {**super().db_parameters(connection), "collation": exact}
