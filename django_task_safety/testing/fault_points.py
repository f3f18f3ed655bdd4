"""The points at which a process may die: counted, written down where a death leaves them, and one of them a death."""

import dataclasses
import functools
import inspect
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType
from typing import Any

from django.core.cache import caches

from django_task_safety.testing import tables
from django_task_safety.testing.effects import Effect

_QUOTES = str.maketrans("", "", '"`')
_STARTS = (
    "_thread.start_new_thread",
    "_thread.start_joinable_thread",
    "subprocess.Popen",
    "os.system",
    "os.fork",
    "os.posix_spawn",
)
_CHANGES = ("os.rename", "os.remove", "os.truncate")
_WRITING = os.O_WRONLY | os.O_RDWR


@dataclasses.dataclass(frozen=True)
class Point:
    """Something that the work came to."""

    number: int
    #: What is done there: a statement, a COMMIT, or an effect.
    name: str
    #: Where in the task's own code, as ``file.py:12``.
    line: str

    def __str__(self) -> str:
        return f"{self.line}, {self.name}"


class Journal:
    """What a process has done, in a file to which it is added at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, kind: str, value: Any) -> None:
        os.write(self._file, pickle.dumps((kind, value)))

    def close(self) -> None:
        os.close(self._file)

    def read(self, kind: str) -> list[Any]:
        found = []
        with self._path.open("rb") as file:
            while file.peek(1):
                found.append(pickle.load(file))
        return [value for known, value in found if known == kind]


class FaultPoints:
    """Counts the points of this process, which was forked for it.

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
        self._count, self._counting, self._noting = 0, False, False
        self._thread = threading.get_ident()
        for db in tables.usable():
            db.execute_wrappers.append(self._statement)
            for name in ("commit", "rollback"):
                setattr(db, name, functools.partial(self._around, name.upper(), getattr(db, name)))
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
        yield
        self._reach(f"after {effect}")

    def _reach(self, name: str) -> None:
        if not self._counting or threading.get_ident() != self._thread:
            return
        self._line = self._own_line() or self._line
        self._journal.write("point", Point(self._count, name, self._line))
        if self._count == self._at:
            os.kill(os.getpid(), signal.SIGKILL)
        self._count += 1

    def _statement(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        name = " ".join(sql.split()).translate(_QUOTES)[:90]
        return self._around(name, execute, sql, params, many, context)

    def _around(self, name: str, call: Callable[..., Any], *args: Any) -> Any:
        self._reach(f"before {name}")
        answer = call(*args)
        if not name.startswith("SELECT"):
            self._reach(f"after {name}")
        return answer

    def _own_line(self) -> str:
        frame = sys._getframe(1)
        while frame := frame.f_back:  # type: ignore[assignment]
            if frame.f_code in self._codes:
                return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
        return ""

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if not (self._counting or self._noting):
            return
        if event in _STARTS and (line := self._own_line()):
            self._journal.write("unfollowed", (event.partition(".")[2], line))
        elif event == "open" and isinstance(args[2], int) and args[2] & _WRITING:
            self._on_file(args[0])
        elif event in _CHANGES:
            for path in args[:2]:
                self._on_file(path)

    def _on_file(self, name: Any) -> None:
        if not isinstance(name, str | bytes | os.PathLike):
            return
        path = os.path.abspath(os.fsdecode(name))
        if path.startswith((self._ours, "/dev/", "/proc/")) or path.endswith(".pyc") or "__pycache__" in path:
            return
        self._journal.write("file", (path, content(path)))
        self._reach(f"before writing {os.path.basename(path)}")


def content(path: str) -> bytes | None:
    """Return what is in a file, or None if there is none."""
    return Path(path).read_bytes() if os.path.isfile(path) else None


def replay_caches(effects: Iterable[Effect]) -> None:
    """Write to this process's caches what another one wrote before it died: a real cache outlives it."""
    for effect in effects:
        if effect.kind == "cache":
            alias, name, args, kwargs = effect.details
            getattr(caches[alias], name)(*args, **kwargs)


def _code_of(work: Any) -> CodeType | None:
    for name in ("body", "run", "func"):
        work = getattr(work, name, work)
    return getattr(inspect.unwrap(work), "__code__", None)


def _with_nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _with_nested(constant)
