"""What copies of a database can do, whichever it is."""

import secrets
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from django_task_safety.errors import InvalidArguments

#: By so much sequences are advanced.
STEP = 1_000


class Copies(ABC):
    """Copies of one database of the test, one for each slot.

    Args:
        db: The test's connection.
        directory: Where files may be put.
        number: Which of the databases it is.
    """

    def __init__(self, db: BaseDatabaseWrapper, directory: Path, number: int) -> None:
        self.db, self.directory, self.number = db, directory, number
        self.token = secrets.token_hex(4)

    @abstractmethod
    def prepare(self) -> None:
        """Note what is in the database."""

    def name(self, slot: int | str) -> str:
        """Return the NAME of a slot's copy; those of servers begin as the names of Django's test databases do."""
        return f"test_crashes_{self.token}_{self.number}_{slot}"

    @abstractmethod
    def renew(self, slot: int) -> None:
        """Make the copy of a slot, or make it anew."""

    @abstractmethod
    def drop(self) -> None:
        """Remove all copies."""

    @abstractmethod
    def make_fast(self, cursor: Any) -> None:
        """Have a connection not wait for the disk: processes die here, not machines."""

    @abstractmethod
    def advance_sequences(self, cursor: Any) -> None:
        """Have new rows get other keys than they would."""

    def others(self, cursor: Any) -> int:
        """Return how many other connections a copy has."""
        return 0

    def refuse_transaction(self) -> None:
        """Raise `InvalidArguments` where what the test wrote is in a transaction, so that nobody else sees it."""
        if self.db.in_atomic_block:
            raise InvalidArguments(
                f"What this test wrote to {self.db.alias!r} is not committed, so that {self.db.display_name} cannot "
                "copy it. Use the fixture transactional_db, or django_db(transaction=True), of pytest-django instead "
                "of db, or Django's TransactionTestCase instead of TestCase; and call this outside atomic()."
            )
