"""Whether what was read and written in a transaction still holds, and whether it was committed."""

from __future__ import annotations

from typing import Any

from django.db import connections, transaction


class OpenTransaction:
    """A transaction for as long as nothing in it is rolled back.

    Django tells of a commit, but of no rollback. At one, it forgets what waits for the commit: it puts another list in
    the place of ``run_on_commit``, which is not documented. So what was noted beside one list is in doubt beside the
    next.
    """

    def __init__(self, connection: Any) -> None:
        self.committed = False
        self._using: str = connection.alias
        self._waiting: list[Any] = connection.run_on_commit

    @classmethod
    def of_a_read(cls, using: str) -> OpenTransaction | None:
        """Return that in which the database is read now; None outside of a transaction."""
        connection: Any = connections[using]
        return cls(connection) if connection.in_atomic_block or not connection.get_autocommit() else None

    @classmethod
    def of_a_write(cls, using: str) -> OpenTransaction | None:
        """Return that in which the database is written now, which learns of the commit; None outside of one."""
        connection: Any = connections[using]
        if not connection.in_atomic_block:
            # With autocommit off nobody tells of the commit either.
            return cls.of_a_read(using)
        for savepoints, waiting, *_ in connection.run_on_commit[-1:]:
            if isinstance(waiting, cls) and waiting.is_open and savepoints == set(connection.savepoint_ids):
                return waiting
        new = cls(connection)
        transaction.on_commit(new, using=using)
        return new

    def __call__(self) -> None:
        # Tests may call it before the commit.
        self.committed |= not connections[self._using].in_atomic_block

    @property
    def is_open(self) -> bool:
        """Whether it goes on, and nothing was rolled back since."""
        return not self.committed and connections[self._using].run_on_commit is self._waiting

    @property
    def lasts(self) -> bool:
        """Whether it was committed, and nothing was rolled back before."""
        # The list whose callbacks are called loses them.
        return self.committed and not self._is_in(self._waiting)

    @property
    def rolled_back(self) -> bool:
        """Whether what was written then is not there any more, though other parts of the transaction may go on."""
        return not (self.committed or self.is_open or self._is_in(connections[self._using].run_on_commit))

    def _is_in(self, waiting: list[Any]) -> bool:
        return any(one is self for _, one, *_ in waiting)
