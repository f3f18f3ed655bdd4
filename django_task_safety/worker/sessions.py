"""Database connections that wait for their thread's next task, and the thread that closes those that waited in vain."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from typing import Any


class Session:
    """The driver's own connection: Django's object stays, with what others tell it before the next task.

    Args:
        alias: Of its database.
        driver: The connection.
        close_at: Django's own limit to its age, of `time.monotonic`; None for none.
        params: With which it was opened, if it was reset and is to be set up again; None if it is as it was left.
    """

    def __init__(
        self,
        alias: str,
        driver: Any,
        *,
        close_at: float | None = None,
        params: dict[str, Any] | None = None,
    ) -> None:
        self.alias = alias
        self.close_at = close_at
        self.params = params
        self.idle_until = float("inf")
        # Whoever takes it out has it: the thread that put it here, or the one that closes.
        self._driver = [driver]
        self._pid = os.getpid()

    @property
    def taken(self) -> bool:
        """Whether somebody took the connection out."""
        return not self._driver

    def take(self) -> Any:
        """Return the connection, once; then None, as in a process that was forked meanwhile, whose it is not."""
        if self._pid != os.getpid():
            return None
        try:
            return self._driver.pop()
        except IndexError:
            return None

    def close(self) -> None:
        """Close the connection, unless somebody took it."""
        driver = self.take()
        if driver is not None:
            with contextlib.suppress(Exception):
                driver.close()

    def __del__(self) -> None:
        # Its thread has ended, or the interpreter ends.
        with contextlib.suppress(Exception):
            self.close()
            if self._driver:
                _parents.append(self._driver)


#: In a forked process: what its parent has open, which would tell the server to close if it went away here.
_parents: list[Any] = []


class _Closer:
    """One thread, which lives for as long as anything waits."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        #: In the order in which they are to be closed, for all wait as long. Those that were taken go in their turn.
        self._waiting: deque[Session] = deque()
        self._runs = False

    def add(self, session: Session) -> None:
        with self._changed:
            while self._waiting and self._waiting[0].taken:
                self._waiting.popleft()
            if not self._runs:
                threading.Thread(target=self._run, name="task-safety-idle-connections", daemon=True).start()
                self._runs = True
            self._waiting.append(session)

    def close_all(self) -> None:
        with self._changed:
            for session in self._waiting:
                session.close()
            self._changed.notify()

    def _run(self) -> None:
        with self._changed:
            while self._waiting:
                session = self._waiting[0]
                left = session.idle_until - time.monotonic()
                if session.taken:
                    self._waiting.popleft()
                elif left > 0:
                    self._changed.wait(left)
                else:
                    session.close()
            self._runs = False


_closer = _Closer()


def close_if_idle(session: Session, seconds: float) -> None:
    """Close the session's connection where nobody took it for some seconds."""
    session.idle_until = time.monotonic() + seconds
    _closer.add(session)


def close_all() -> None:
    """Close all that wait in this process only for so long."""
    _closer.close_all()
