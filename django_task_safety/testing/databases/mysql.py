"""Copies of MariaDB and MySQL databases are filled from the test's own."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django_task_safety.testing.databases.copies import Copies


class MySQLCopies(Copies):
    """Copies whose tables are made once, and filled anew as often as it is needed."""

    def prepare(self) -> None:
        self.refuse_transaction()
        self._original = self.db.ops.quote_name(self.db.settings_dict["NAME"])
        with self.db.cursor() as cursor:
            cursor.execute("SHOW FULL TABLES WHERE Table_type = 'BASE TABLE'")
            names = [name for name, _ in cursor.fetchall()]
            self._tables = {name: _definition(cursor, f"TABLE {self.db.ops.quote_name(name)}", 1) for name in names}
            cursor.execute(
                "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = DATABASE()"
                " ORDER BY event_object_table, event_manipulation, action_timing, action_order"
            )
            names = [name for (name,) in cursor.fetchall()]
            self._triggers = {name: _definition(cursor, f"TRIGGER {self.db.ops.quote_name(name)}", 2) for name in names}
            self._columns = self._columns_by_table(cursor)

    def renew(self, slot: int) -> None:
        with self._server() as cursor:
            cursor.execute(f"CREATE DATABASE IF NOT EXISTS {self.db.ops.quote_name(self.name(slot))}")
            cursor.execute(f"USE {self.db.ops.quote_name(self.name(slot))}")
            cursor.execute("SHOW TABLES")
            if not cursor.fetchall():
                for definition in self._tables.values():
                    cursor.execute(definition)
            for name in self._triggers:
                cursor.execute(f"DROP TRIGGER IF EXISTS {self.db.ops.quote_name(name)}")
            cursor.execute("START TRANSACTION")
            for table, columns in self._columns.items():
                cursor.execute(f"DELETE FROM {table}")
                cursor.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {self._original}.{table}")
            cursor.execute("COMMIT")
            for definition in self._triggers.values():
                cursor.execute(definition)

    def drop(self) -> None:
        with self._server() as cursor:
            cursor.execute("SHOW DATABASES")
            for (name,) in cursor.fetchall():
                if name.startswith(self.name("")):
                    cursor.execute(f"DROP DATABASE {self.db.ops.quote_name(name)}")

    def make_fast(self, cursor: Any) -> None:
        """That is a setting of the whole server."""

    def advance_sequences(self, cursor: Any) -> None:
        """They were, when a copy is filled once more: what gave out keys goes on from there."""

    def others(self, cursor: Any) -> int:
        cursor.execute(
            "SELECT count(*) FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
        )
        return int(cursor.fetchone()[0])

    def _columns_by_table(self, cursor: Any) -> dict[str, str]:
        """Return the columns of each table that are not generated, quoted and separated by commas."""
        cursor.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = DATABASE()"
            " AND extra NOT LIKE '%GENERATED%' ORDER BY table_name, ordinal_position"
        )
        found: dict[str, list[str]] = {}
        for table, column in cursor.fetchall():
            if table in self._tables:
                found.setdefault(self.db.ops.quote_name(table), []).append(self.db.ops.quote_name(column))
        return {table: ", ".join(columns) for table, columns in found.items()}

    @contextmanager
    def _server(self) -> Iterator[Any]:
        server: Any = type(self.db)({**self.db.settings_dict}, self.db.alias)
        try:
            with server.constraint_checks_disabled(), server.cursor() as cursor:
                yield cursor
        finally:
            server.close()


def _definition(cursor: Any, what: str, column: int) -> str:
    cursor.execute(f"SHOW CREATE {what}")
    return str(cursor.fetchone()[column])
