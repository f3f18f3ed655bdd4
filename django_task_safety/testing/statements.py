"""What goes to a database: its statements, and the ends of its transactions."""

import functools
from collections.abc import Callable
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

#: Is given what it is, in one line, and what does it; returns what that returns.
Around = Callable[[str, Callable[[], Any]], Any]

#: Left out of the names, since databases differ in them.
_QUOTES = str.maketrans("", "", '"`')
_LONGEST_NAME = 90


def follow(db: BaseDatabaseWrapper, statement: Around, end: Around) -> None:
    """Have one called around each statement of a connection, and the other around each COMMIT and ROLLBACK."""

    def wrapper(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        name = " ".join(sql.split()).translate(_QUOTES)[:_LONGEST_NAME]
        return statement(name, lambda: execute(sql, params, many, context))

    db.execute_wrappers.append(wrapper)
    # These are no statements to Django, which has neither wrappers nor signals for them.
    for name in ("commit", "rollback"):
        setattr(db, name, functools.partial(end, name.upper(), getattr(db, name)))
