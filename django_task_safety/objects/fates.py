"""Whether what was written in a transaction has been rolled back since."""

from __future__ import annotations

from typing import Any

from django.db import connections, transaction


class Fate:
    """What becomes of the writes of a transaction, or of a savepoint in it.

    Django tells nobody of a rollback, but it forgets what waits for the commit, savepoint by savepoint. So this waits.
    """

    def __init__(self, connection: Any) -> None:
        self.committed = False
        self._connection = connection

    @classmethod
    def of_this_transaction(cls, using: str) -> Fate | None:
        """Return that of what is written to the database now; None outside of a transaction."""
        connection: Any = connections[using]
        if not connection.in_atomic_block:
            return None
        for savepoints, waiting, *_ in connection.run_on_commit[-1:]:
            if isinstance(waiting, cls) and savepoints == set(connection.savepoint_ids):
                return waiting
        fate = cls(connection)
        transaction.on_commit(fate, using=connection.alias)
        return fate

    def __call__(self) -> None:
        self.committed = True

    @property
    def undone(self) -> bool:
        """Whether it was rolled back."""
        waiting = reversed(self._connection.run_on_commit)
        return not self.committed and not any(one is self for _, one, *_ in waiting)
