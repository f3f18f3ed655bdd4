"""A body that is one ``atomic()`` block needs no savepoint in the transaction that its attempt has just opened.

That saves two round trips to PostgreSQL: its drivers send BEGIN with the first statement, so they know whether there
was one. Other databases cannot tell, and keep their savepoints.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django_task_safety.worker.instead import instead

#: libpq's ``PQTRANS_IDLE``: the transaction has had no statement.
_IDLE = 0


@contextmanager
def spared(connection: Any) -> Iterator[None]:
    """Send nothing for savepoints at the very beginning of the transaction; to roll one back is to begin anew.

    Args:
        connection: Django's, inside the outermost ``atomic()``.
    """
    if connection.vendor != "postgresql":
        yield
        return
    beginnings: set[str] = set()
    set_, roll_back, release = connection._savepoint, connection._savepoint_rollback, connection._savepoint_commit

    def set_unless_first(sid: str) -> None:
        if connection.connection is not None and connection.connection.info.transaction_status == _IDLE:
            beginnings.add(sid)
        else:
            set_(sid)

    def roll_back_to(sid: str) -> None:
        if sid in beginnings:
            connection._rollback()
        else:
            roll_back(sid)

    def release_if_set(sid: str) -> None:
        if sid not in beginnings:
            release(sid)

    ours = {"_savepoint": set_unless_first, "_savepoint_rollback": roll_back_to, "_savepoint_commit": release_if_set}
    with instead(connection, **ours):
        yield
