"""What goes to a database: its statements, and the ends of its transactions."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

#: Is given what it is, in one line, and what does it; returns what that returns.
Around = Callable[[str, Callable[[], Any]], Any]

#: Left out of the names, since databases differ in them.
_QUOTES = str.maketrans("", "", '"`')
_LONGEST_NAME = 90


def follow(db: BaseDatabaseWrapper, statement: Around, end: Around) -> None:
    """Have one called around each statement of a connection, and the other around each COMMIT and ROLLBACK."""
    driver = _Driver(db, statement)

    def wrapper(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        with driver.used_by_django():
            return statement(_name(sql), lambda: execute(sql, params, many, context))

    def ended(name: str, real: Callable[[], None]) -> Any:
        with driver.used_by_django():
            return end(name.upper(), real)

    db.execute_wrappers.append(wrapper)
    # These are no statements to Django, which has neither wrappers nor signals for them.
    for name in ("commit", "rollback"):
        setattr(db, name, functools.partial(ended, name, getattr(db, name)))


class _Driver:
    """The driver's own connection, ``connection.connection``: what is sent on it past Django is told as well."""

    def __init__(self, db: BaseDatabaseWrapper, statement: Around) -> None:
        self._statement, self._djangos = statement, False
        connection: Any = db.connection
        if db.vendor == "sqlite":
            connection.set_trace_callback(lambda sql: self._around(sql, lambda: None))
            return
        for name in ("cursor_factory", "cursorclass"):
            if isinstance(kind := getattr(connection, name, None), type):
                setattr(connection, name, self._followed(kind))
        with suppress(AttributeError):  # some drivers are written in C
            connection.commit = functools.partial(self._around, "COMMIT", connection.commit)

    @contextmanager
    def used_by_django(self) -> Iterator[None]:
        before, self._djangos = self._djangos, True
        try:
            yield
        finally:
            self._djangos = before

    def _around(self, sql: Any, execute: Callable[[], Any]) -> Any:
        if self._djangos:
            return execute()
        with self.used_by_django():  # an executemany() may be made of others
            return self._statement(_name(sql.as_string(None) if hasattr(sql, "as_string") else sql), execute)

    def _followed(self, kind: type) -> type:
        def followed(real: Callable[..., Any]) -> Callable[..., Any]:
            return lambda cursor, sql, *args, **kwargs: self._around(sql, lambda: real(cursor, sql, *args, **kwargs))

        names = [name for name in ("execute", "executemany", "copy", "copy_expert") if hasattr(kind, name)]
        return type(kind)(kind.__name__, (kind,), {name: followed(getattr(kind, name)) for name in names})


def _name(sql: Any) -> str:
    text = sql.decode(errors="replace") if isinstance(sql, bytes) else str(sql)
    return " ".join(text.split()).translate(_QUOTES)[:_LONGEST_NAME]
