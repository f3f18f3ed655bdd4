"""What a statement does to its session, beyond its transaction: the next client of a pooler would have it too."""

import re
import sys
from collections.abc import Callable
from typing import Any

from django.db.backends.utils import CursorWrapper

PACKAGE = "django_task_safety"

#: Until its transaction or statement ends, or of no session at all.
_PASSING = re.compile(r"SET\s+(LOCAL|STATEMENT|TRANSACTION|CONSTRAINTS)\b|PRAGMA\s+\w+\s*\(", re.I)
_LASTING = re.compile(
    r"(SET|PRAGMA|PREPARE|LISTEN|LOAD|LOCK\s+TABLES|CREATE\s+TEMP(ORARY)?)\b"
    r"|.*(\bpg_(try_)?advisory_lock(_shared)?\s*\(|\bWITH\s+HOLD\b|\bGET_LOCK\s*\(|@\w+\s*:=)",
    re.I | re.S,
)
_FOR_THE_SESSION = re.compile(r"set_config\(.*,\s*false\s*\)", re.I | re.S)
#: What takes back what an earlier statement did: of a variable, and of a named lock.
_UNDONE = {
    re.compile(r"SET\s+(@\w+)\s*=\s*NULL", re.I): r"SET\s+{}\b",
    re.compile(r"SELECT\s+RELEASE_LOCK\((\S+)\)", re.I): r"SELECT\s+GET_LOCK\({}",
}


def outlives(sql: str) -> bool:
    """Return whether a statement's effect on its session outlives its transaction."""
    text = sql.strip()
    lasting = _LASTING.match(text) and not _PASSING.match(text)
    return bool(lasting or _FOR_THE_SESSION.search(text))


class SessionWatch:
    """Notes such statements of the package."""

    def __init__(self) -> None:
        self._found: list[tuple[int, str]] = []

    def connected(self, connection: Any, **kwargs: Any) -> None:
        """A connection was made: look at what it sends."""
        if self._look not in connection.execute_wrappers:
            connection.execute_wrappers.append(self._look)

    def take(self) -> list[str]:
        """Return what was found, and forget it."""
        found, self._found = self._found, []
        return [sql for _, sql in found]

    def _look(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        text, session = str(sql).strip(), id(context["connection"])
        for undoing, done in _UNDONE.items():
            if match := undoing.match(text):
                what = re.compile(done.format(re.escape(match[1])), re.I)
                self._found = [one for one in self._found if one[0] != session or not what.match(one[1])]
                return execute(sql, params, many, context)
        if outlives(text) and _sender() == PACKAGE:
            self._found.append((session, text))
        return execute(sql, params, many, context)


def _sender() -> str:
    """Return the package whose code calls ``execute()``; Django itself sends what makes a session as it is set up."""
    frame, between = sys._getframe(), (__name__, CursorWrapper.__module__, "contextlib")
    while frame.f_back is not None and frame.f_globals["__name__"] in between:
        frame = frame.f_back
    return str(frame.f_globals["__name__"]).partition(".")[0]
