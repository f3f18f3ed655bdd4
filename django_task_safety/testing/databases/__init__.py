"""Copies of the test's databases, for processes that have them to themselves."""

import time
from pathlib import Path
from typing import Any, Self

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_task_safety.errors import InvalidArguments
from django_task_safety.testing import tables
from django_task_safety.testing.databases.copies import Copies
from django_task_safety.testing.databases.mysql import MySQLCopies
from django_task_safety.testing.databases.postgresql import PostgreSQLCopies
from django_task_safety.testing.databases.sqlite import SQLiteCopies

_KINDS: dict[str, type[Copies]] = {"sqlite": SQLiteCopies, "postgresql": PostgreSQLCopies, "mysql": MySQLCopies}
#: Seconds that a server may take to notice that a client is gone.
_LONGEST_FAREWELL = 10.0
#: The connections that were there before a fork: closing one would end it for the process that it belongs to.
_inherited: list[Any] = []


class Databases:
    """The test's databases as they are now. As a context manager it removes all copies in the end.

    Args:
        directory: Where files may be put.

    Raises:
        InvalidArguments: For a database that cannot be copied, or whose data is not committed.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        #: By alias; aliases of one database share them.
        self._copies: dict[str, Copies] = {}
        self._by_place: dict[tuple[Any, ...], Copies] = {}

    def __enter__(self) -> Self:
        try:
            for db in list(tables.usable()):
                self._copies[db.alias] = self._of(db)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        for copies in self._by_place.values():
            copies.drop()

    @property
    def aliases(self) -> list[str]:
        """Which databases are copied."""
        return sorted(self._copies)

    def renew(self, slot: int) -> None:
        """Have the copies of a slot be as the test's databases are, whatever was done to them."""
        for copies in self._by_place.values():
            copies.renew(slot)

    def use(self, slot: int) -> None:
        """Have this process, which was forked for it, work with the copies of a slot, once nobody else does."""
        for alias, copies in self._copies.items():
            _inherited.append(connections[alias])
            settings = connections.settings[alias]
            settings["NAME"] = copies.name(slot)
            settings["OPTIONS"].pop("pool", None)
            db = connections[alias] = connections.create_connection(alias)
            _wait_until_alone(copies, db)

    def advance_sequences(self) -> None:
        """Have this process's copies give out other numbers than before."""
        for alias, copies in self._copies.items():
            with connections[alias].cursor() as cursor:
                copies.advance_sequences(cursor)

    def _of(self, db: BaseDatabaseWrapper) -> Copies:
        place = (db.vendor, *(db.settings_dict.get(name) for name in ("HOST", "PORT", "NAME")))
        if place not in self._by_place:
            kind = _KINDS.get(db.vendor)
            if kind is None:
                raise InvalidArguments(
                    f"The database {db.alias!r} is {db.display_name}, of which no copies can be made. Run this test "
                    "with SQLite, PostgreSQL, MariaDB or MySQL."
                )
            self._by_place[place] = copies = kind(db, self._directory, len(self._by_place))
            copies.prepare()
        return self._by_place[place]


def _wait_until_alone(copies: Copies, db: Any) -> None:
    """A process that was killed is gone at once; what it had open at its server is so a moment later."""
    with db.cursor() as cursor:
        copies.make_fast(cursor)
        end = time.monotonic() + _LONGEST_FAREWELL
        while copies.others(cursor) and time.monotonic() < end:
            time.sleep(0.002)
