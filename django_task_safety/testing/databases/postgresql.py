"""Copies of PostgreSQL databases are made from templates."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DatabaseError

from django_task_safety.errors import InvalidArguments
from django_task_safety.testing.databases.copies import STEP, Copies

#: Milliseconds that a statement which is to end may take for that.
_LONGEST_END = 10_000


class PostgreSQLCopies(Copies):
    """Copies of a template, which is a copy of the test's database: that may be used while they are made."""

    def prepare(self) -> None:
        self.refuse_transaction()
        db: Any = self.db
        db.close()
        if db.settings_dict["OPTIONS"].get("pool"):
            db.close_pool()
        try:
            self._create("template", db.settings_dict["NAME"])
        except DatabaseError as exc:
            raise InvalidArguments(
                f"The database {db.alias!r} cannot be copied: {exc}. Close the connections of other threads and "
                "processes first, as a live server's; the user of the tests must be allowed to create databases."
            ) from exc

    def renew(self, slot: int) -> None:
        self._drop(self.name(slot))
        self._create(slot, self.name("template"))

    def drop(self) -> None:
        with self._server() as cursor:
            # A server goes on to make the copy of a process that was killed meanwhile.
            cursor.execute(
                "SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                " AND starts_with(query, %s)",
                [_LONGEST_END, f'CREATE DATABASE "{self.name("")}'],
            )
            cursor.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [self.name("")])
            names = [name for (name,) in cursor.fetchall()]
        for name in names:
            self._drop(name)

    def make_fast(self, cursor: Any) -> None:
        cursor.execute("SET synchronous_commit TO off")

    def advance_sequences(self, cursor: Any) -> None:
        cursor.execute(
            "SELECT setval(format('%%I.%%I', schemaname, sequencename)::regclass,"
            " coalesce(last_value, start_value) + %s) FROM pg_sequences",
            [STEP],
        )

    def others(self, cursor: Any) -> int:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND backend_type = 'client backend'"
        )
        return int(cursor.fetchone()[0])

    def _create(self, slot: int | str, template: str) -> None:
        quote = self.db.ops.quote_name
        with self._server() as cursor:
            cursor.execute(f"CREATE DATABASE {quote(self.name(slot))} TEMPLATE {quote(template)}")

    def _drop(self, name: str) -> None:
        with self._server() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {self.db.ops.quote_name(name)} WITH (FORCE)")

    @contextmanager
    def _server(self) -> Iterator[Any]:
        """Connect to the server, but to none of the databases that are copied."""
        settings = self.db.settings_dict
        options = {name: value for name, value in settings["OPTIONS"].items() if name != "pool"}
        server: Any = type(self.db)({**settings, "NAME": "postgres", "OPTIONS": options}, self.db.alias)
        try:
            with server.cursor() as cursor:
                yield cursor
        finally:
            server.close()
