"""Copies of the test's databases, and processes that have them to themselves."""

import os
import pickle
import select
import shutil
import signal
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from django.db import connections

from django_task_safety.errors import InvalidArguments
from django_task_safety.testing import tables

#: The connections that were there before a fork: closing one would end it for the process that it belongs to.
_inherited: list[Any] = []


class Databases:
    """The test's databases as they are now, also what is not committed, to be copied as often as it is needed.

    Raises:
        InvalidArguments: For a database that is not SQLite.
    """

    def __init__(self, directory: Path) -> None:
        self._templates: dict[str, Path] = {}
        for number, db in enumerate(tables.usable()):
            if db.vendor != "sqlite":
                raise InvalidArguments(
                    f"Crashes are tried on copies of SQLite databases; {db.alias!r} is {db.display_name}. Run this "
                    "test with SQLite."
                )
            self._templates[db.alias] = directory / f"template-{number}.sqlite3"
            self._templates[db.alias].write_bytes(db.connection.serialize())

    def copy(self, directory: Path) -> None:
        directory.mkdir()
        for template in self._templates.values():
            shutil.copyfile(template, directory / template.name)

    def use(self, directory: Path) -> None:
        """Have this process, which was forked for it, work with the copies in a directory."""
        for alias, template in self._templates.items():
            _inherited.append(connections[alias])
            connections.settings[alias]["NAME"] = str(directory / template.name)
            connections[alias] = connections.create_connection(alias)


class Unended(Exception):
    """The process has not ended in time, and was killed."""


def fork(work: Callable[[], Any], result: Path, seconds: float) -> int:
    """Do something in a process of its own, which leaves what it returns in a file.

    Returns:
        The signal that it died of, or 0.

    Raises:
        Unended: After so many seconds.
    """
    running, ended = os.pipe()
    with warnings.catch_warnings():
        # The test may have threads; the work is one that has none of them.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os.close(running)
        _leave(work, result)
    os.close(ended)
    in_time = select.select([running], [], [], seconds)[0]
    os.close(running)
    if not in_time:
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    if not in_time:
        raise Unended(f"it has not ended after {seconds:.0f} seconds")
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def _leave(work: Callable[[], Any], result: Path) -> NoReturn:
    try:
        outcome = pickle.dumps((work(), ""))
    except BaseException as exc:
        text = "".join(traceback.format_exception_only(exc)).strip()
        outcome = pickle.dumps((None, text))
    try:
        result.write_bytes(outcome)
    finally:
        os._exit(0)
