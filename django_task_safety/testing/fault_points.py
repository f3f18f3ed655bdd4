"""The points at which a process may die: counted, written down where a death leaves them, and one of them a death."""

import functools
import inspect
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from django_task_safety.testing import drivers, files, statements, tables
from django_task_safety.testing.effects import Effect
from django_task_safety.testing.frames import callers
from django_task_safety.testing.journal import Journal, Point
from django_task_safety.testing.watching import is_logging

_STARTS = (
    "_thread.start_new_thread",
    "_thread.start_joinable_thread",
    "subprocess.Popen",
    "os.system",
    "os.fork",
    "os.posix_spawn",
)
#: What statements begin with that change nothing, and those whose changes are lost with their transaction.
_READS = (
    *("SELECT", "BEGIN", "START", "SAVEPOINT", "RELEASE", "ROLLBACK", "SET"),
    *("PRAGMA", "SHOW", "EXPLAIN", "DECLARE", "FETCH", "CLOSE"),
)
_REVOCABLE = ("INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE", "WITH", "COPY")
#: What a statement does, behind the brackets of a UNION and what MariaDB has it be done with.
_VERB = re.compile(r"(?:\(|SET STATEMENT .+? FOR )*(\w+)", re.IGNORECASE)


class FaultPoints:
    """Counts the points of this process, which was forked for it.

    What comes after something is a point once the process comes to the next thing: SQLite, for one, ends a statement
    when its rows are fetched.

    Args:
        work: The function whose own lines are named.
        journal: Where they are written down.
        at: The number of the point at which the process dies, or None.
        ours: A directory whose files are none of the work's.
    """

    def __init__(self, work: Any, journal: Journal, at: int | None, ours: Path) -> None:
        self._journal, self._at, self._ours = journal, at, str(ours)
        code = _code_of(work)
        self._codes = set(_with_nested(code)) if code else set()
        self._line = f"{os.path.basename(code.co_filename)}:{code.co_firstlineno}" if code else "?:0"
        self._count, self._counting, self._noting, self._observing = 0, False, False, False
        #: What is over, and the line that it belongs to, when nothing else has come yet.
        self._over: tuple[str, str] | None = None
        self._state, self._files, self._temporary = 0, dict[str, files.Content](), set[str]()
        #: The databases in which there is something to be committed, and those in which the body has done so by hand.
        self._uncommitted, self._by_hand = set[str](), set[str]()
        #: The lines that asked for something to be done after the commit.
        self._hooks: list[str] = []
        self._thread = threading.get_ident()
        for db in tables.usable():
            statements.follow(
                db, functools.partial(self._statement, db), functools.partial(self._end_transaction, db.alias)
            )
            db.on_commit = functools.partial(self._on_commit, db.on_commit)  # type: ignore[method-assign]
        drivers.follow(self._on_unfollowed)
        sys.addaudithook(self._audit)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count what happens in the block."""
        before, self._counting = self._counting, True
        try:
            yield
            self._reach("at the end")
        finally:
            self._counting = before

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note effects and files in the block, and count nothing."""
        self._noting = True
        try:
            yield
        finally:
            self._noting = False

    @contextmanager
    def observe(self, effect: Effect) -> Iterator[None]:
        """Note an effect, with a point before and one after it."""
        self._reach(f"before {effect}")
        if self._counting or self._noting:
            self._journal.write("effect", effect)
        self._state += effect.kind != "connection"
        before, self._observing = self._observing, True
        try:
            yield
        finally:
            self._observing = before
            self._state += effect.kind != "connection"
            self._end(str(effect))

    def _reach(self, name: str) -> None:
        """Come to a point."""
        if not self._counting or threading.get_ident() != self._thread:
            return
        if self._over:
            self._point(*self._over)
            self._over = None
        self._line = self._own_line() or self._line
        self._point(name, self._line)

    def _end(self, name: str, line: str = "") -> None:
        """Have been through something; that is a point before the next one."""
        if self._counting and threading.get_ident() == self._thread:
            self._over = f"after {name}", line or self._line

    def _point(self, name: str, line: str) -> None:
        now = {path: files.content(path) for path in self._files}
        if now != self._files:
            self._state, self._files = self._state + 1, now
        self._journal.write("point", Point(self._count, name, line, self._state))
        if self._count == self._at:
            os.kill(os.getpid(), signal.SIGKILL)
        self._count += 1

    def _statement(self, db: BaseDatabaseWrapper, name: str, execute: Callable[[], Any]) -> Any:
        self._reach(f"before {name}")
        answer = execute()
        self._note_change(name, db)
        if not name.startswith("SELECT"):
            self._end(name)
        return answer

    def _note_change(self, name: str, db: BaseDatabaseWrapper) -> None:
        found = _VERB.match(name)
        verb = found[1].upper() if found else ""
        if verb in _READS:
            return
        in_transaction = db.in_atomic_block or not db.get_autocommit()
        if in_transaction and verb in _REVOCABLE and db.alias not in self._by_hand:
            self._uncommitted.add(db.alias)
            return
        self._state += 1
        if in_transaction:  # a COMMIT, or what some databases commit of themselves
            self._by_hand.add(db.alias)

    def _end_transaction(self, alias: str, name: str, end: Callable[[], None]) -> None:
        self._reach(f"before {name}")
        end()
        self._state += name == "COMMIT" and alias in self._uncommitted
        self._uncommitted.discard(alias)
        self._end(name, self._hooks[0] if self._hooks and name == "COMMIT" else "")
        self._hooks.clear()

    def _on_commit(self, register: Callable[..., None], func: Callable[[], Any], robust: bool = False) -> None:
        line = self._own_line()
        if not self._counting or not line or _is_protocols(func):
            return register(func, robust)

        def hook() -> None:
            self._line = line
            func()

        self._hooks.append(line)
        return register(hook, robust)

    def _own_line(self) -> str:
        for frame in callers():
            if frame.f_code in self._codes:
                return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
        return ""

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if not (self._counting or self._noting) or threading.get_ident() != self._thread:
            return
        if event in _STARTS or self._is_foreign_database(event, args):
            self._on_unfollowed(event)
        elif path := files.temporary(event, args):
            self._temporary.add(path)
            self._journal.write("temporary", path)
        # A cache, which may be made of files, is compared as such.
        elif not self._observing:
            paths = [path for path in files.changed_by(event, args) if not self._is_ours(path)]
            for path in paths if paths and not is_logging() else ():
                self._on_file(path, files.opened(event, args))

    def _on_unfollowed(self, name: str) -> None:
        """Note that something is done which is not followed, where it is the body that does it."""
        if (self._counting or self._noting) and threading.get_ident() == self._thread and (line := self._own_line()):
            self._journal.write("unfollowed", Point(self._count, f"{name} is called", line, -1))

    def _on_file(self, path: str, flags: int) -> None:
        self._journal.write("file", (path, files.content(path)))
        self._files.setdefault(path, files.content(path))
        name = os.path.basename(path)
        self._reach(f"before writing {name}")
        if flags:
            self._state += 1
            if self._count == self._at:
                self._counting = False
                files.open_and_leave(path, flags)
                self._counting = True
            self._reach(f"when {name} is open, and nothing is written yet")
            self._state += 1
        self._end(f"writing {name}")

    def _is_ours(self, path: str) -> bool:
        temporary = any(path == one or path.startswith(one + os.sep) for one in self._temporary)
        return temporary or path.startswith((self._ours, "/dev/", "/proc/")) or path.endswith(".pyc")

    def _is_foreign_database(self, event: str, args: tuple[Any, ...]) -> bool:
        return event == "sqlite3.connect" and ":memory:" not in str(args[0]) and self._ours not in str(args[0])


def _is_protocols(func: Any) -> bool:
    """Return whether the protocol does something after the commit; what of that is lost, is done again."""
    return str(getattr(getattr(func, "func", func), "__module__", "")).startswith("django_task_safety.")


def _code_of(work: Any) -> CodeType | None:
    for name in ("body", "run", "func"):
        work = getattr(work, name, work)
    return getattr(inspect.unwrap(work), "__code__", None)


def _with_nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _with_nested(constant)
