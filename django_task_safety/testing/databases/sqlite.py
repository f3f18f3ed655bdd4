"""Copies of SQLite databases are files."""

import shutil
from pathlib import Path
from typing import Any

from django_task_safety.testing.databases.copies import STEP, Copies


class SQLiteCopies(Copies):
    """Copies of a database in a file or in memory, also of what is not committed."""

    def prepare(self) -> None:
        self._template = Path(self.name("template"))
        self._template.write_bytes(self.db.connection.serialize())

    def name(self, slot: int | str) -> str:
        return str(self.directory / super().name(slot))

    def renew(self, slot: int) -> None:
        for leftover in self.directory.glob(f"{Path(self.name(slot)).name}*"):
            leftover.unlink()
        shutil.copyfile(self._template, self.name(slot))

    def drop(self) -> None:
        """They go with their directory."""

    def make_fast(self, cursor: Any) -> None:
        cursor.execute("PRAGMA synchronous = OFF")

    def advance_sequences(self, cursor: Any) -> None:
        cursor.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE '%AUTOINCREMENT%'")
        if not (names := {name for (name,) in cursor.fetchall()}):
            return
        cursor.execute("SELECT name FROM sqlite_sequence")
        fresh = names - {name for (name,) in cursor.fetchall()}
        cursor.executemany("INSERT INTO sqlite_sequence (name, seq) VALUES (%s, 0)", [(name,) for name in fresh])
        cursor.execute("UPDATE sqlite_sequence SET seq = seq + %s", [STEP])
