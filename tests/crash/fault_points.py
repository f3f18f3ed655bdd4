"""Something happens to a process at one of the points where its work becomes durable, or does not."""

from collections.abc import Callable
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from django_task_safety.testing.statements import follow


class FaultPoints:
    """Counts the points of a connection: before and after each statement, COMMIT and ROLLBACK.

    Args:
        connection: The connection, which must be open.
        at: The number of the point, from 0, or a part of its name; None for no point at all.
        action: What happens there; it is given the point's name and whether a transaction is open.
    """

    def __init__(
        self, connection: BaseDatabaseWrapper, at: int | str | None, action: Callable[[str, bool], None]
    ) -> None:
        self.connection, self.at, self.action = connection, at, action
        self.points: list[str] = []
        connection.ensure_connection()
        follow(connection, self._around, self._around)

    def reach(self, name: str) -> None:
        """Come to a point."""
        self.points.append(name)
        number = len(self.points) - 1
        if number == self.at or (isinstance(self.at, str) and self.at in name):
            self.at = None
            self.action(f"{number}: {name}", in_transaction(self.connection))

    def _around(self, name: str, call: Callable[[], Any]) -> Any:
        self.reach(f"before {name}")
        answer = call()
        self.reach(f"after {name}")
        return answer


def in_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Return whether the connection may hold locks; it is asked inside of Django's own handling of transactions."""
    if connection.vendor == "sqlite":
        return connection.connection is not None and bool(connection.connection.in_transaction)
    return not connection.get_autocommit()
