"""Connections that a piece of work makes to databases by a driver, which neither Django nor Python's sockets know."""

import functools
import importlib
import inspect
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from django_task_safety.testing.frames import is_within

#: By module: what makes its connections. That of a class is seen by whatever name it was imported.
_CONNECTING = {
    "psycopg": ("Connection.__init__", "AsyncConnection.__init__"),
    "psycopg2": ("connect",),
    "MySQLdb": ("connect",),
    "pymysql": ("Connection.__init__",),
    "mysql.connector": ("connect",),
    "oracledb": ("connect",),
    "pyodbc": ("connect",),
}
_DJANGO = inspect.unwrap(BaseDatabaseWrapper.connect).__code__


def follow(tell: Callable[[str], None]) -> None:
    """Have one called with the name of what connects this process to a database, unless it is Django that does."""
    for module, names in _CONNECTING.items():
        for name in names:
            # What cannot be imported connects nobody, and some drivers have not all of the names.
            with suppress(ImportError, AttributeError):
                _follow(importlib.import_module(module), name, tell)


def _follow(module: Any, path: str, tell: Callable[[str], None]) -> None:
    if module.__name__ not in _CONNECTING:  # it stands in for another one
        return
    *inner, name = path.split(".")
    owner = functools.reduce(getattr, inner, module)
    real = getattr(owner, name)

    @functools.wraps(real)
    def connect(*args: Any, **kwargs: Any) -> Any:
        if not is_within(_DJANGO):
            tell(f"{module.__name__}.connect")
        return real(*args, **kwargs)

    setattr(owner, name, connect)
