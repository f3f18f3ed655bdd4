"""The one clock that decides: the database's.

Leases, due times and ends are all read from it, so that a host whose clock is off neither robs a living attempt
nor keeps a dead one.
"""

from typing import Any

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import DateTimeField, Func
from django.utils import timezone

SQLITE_FORMAT = "'%%Y-%%m-%%d %%H:%%M:%%f000', 'NOW'"


def now_sql(connection: BaseDatabaseWrapper) -> str:
    """Return the SQL for the current time as Django stores a ``DateTimeField``."""
    if connection.vendor == "postgresql":
        return "STATEMENT_TIMESTAMP()"
    if connection.vendor == "mysql":
        return f"(UTC_TIMESTAMP(6) + INTERVAL {_offset()} SECOND)"
    return f"STRFTIME({SQLITE_FORMAT}, '{_offset()} seconds')"


def after_sql(connection: BaseDatabaseWrapper, seconds: float) -> str:
    """Return the SQL for the current time plus some seconds, written as a number, which costs less than a parameter."""
    number = f"{seconds:.6f}"
    if connection.vendor == "postgresql":
        # Not make_interval, which each new connection looks up with the names and defaults of its arguments.
        return f"(STATEMENT_TIMESTAMP() + '{number} seconds'::interval)"
    if connection.vendor == "mysql":
        return f"(UTC_TIMESTAMP(6) + INTERVAL ({_offset()} + {number}) SECOND)"
    return f"STRFTIME({SQLITE_FORMAT}, ({_offset()} + {number}) || ' seconds')"


def retained_sql(connection: BaseDatabaseWrapper) -> str:
    """Return the SQL for when a row that ends now is to be pruned: after its ``retention``, NULL for never."""
    if connection.vendor == "postgresql":
        return "(STATEMENT_TIMESTAMP() + retention)"
    if connection.vendor == "mysql":
        return f"(UTC_TIMESTAMP(6) + INTERVAL ({_offset()} * 1000000 + retention) MICROSECOND)"
    return f"STRFTIME({SQLITE_FORMAT}, ({_offset()} + retention / 1000000.0) || ' seconds')"


def _offset() -> int:
    """Without USE_TZ Django stores local times; only PostgreSQL converts by itself."""
    if settings.USE_TZ:
        return 0
    offset = timezone.localtime(timezone.now().astimezone(timezone.get_default_timezone())).utcoffset()
    return int(offset.total_seconds()) if offset else 0


class Now(Func):
    """The database's current time, for ORM statements."""

    output_field = DateTimeField()

    def as_sql(self, compiler: Any, connection: BaseDatabaseWrapper, *args: Any, **extra: Any) -> Any:
        return now_sql(connection), []


class After(Func):
    """The database's current time plus a number of seconds, for ORM statements."""

    output_field = DateTimeField()

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = float(seconds)

    def as_sql(self, compiler: Any, connection: BaseDatabaseWrapper, *args: Any, **extra: Any) -> Any:
        return after_sql(connection, self.seconds), []
