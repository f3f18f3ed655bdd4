"""The one clock that decides: the database's.

Leases, due times and ends are all read from it, so that a host whose clock is off neither robs a living attempt
nor keeps a dead one.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import DateTimeField, Func
from django.utils import timezone

SQLITE_FORMAT = "'%%Y-%%m-%%d %%H:%%M:%%f000', 'NOW'"


#: Seconds from which on a moment is in the future whatever the clocks are changed by on the way.
_CLOCK_CHANGE = 7200


def as_stored(moment: datetime) -> datetime:
    """Return an aware datetime as Django stores it in a ``DateTimeField``, and reads it."""
    return moment if settings.USE_TZ else timezone.make_naive(moment, timezone.get_default_timezone())


def as_aware(stored: datetime) -> datetime:
    """Return what was read from a ``DateTimeField`` as an aware datetime."""
    return stored if stored.tzinfo else timezone.make_aware(stored, timezone.get_default_timezone())


def as_read(connection: BaseDatabaseWrapper, found: datetime | str) -> datetime:
    """Return what the database answered to `now_sql`, text on SQLite, naive on MySQL, as a ``DateTimeField`` does."""
    moment = datetime.fromisoformat(found) if isinstance(found, str) else found
    zone = connection.timezone
    return moment.replace(tzinfo=zone) if zone is not None and moment.tzinfo is None else moment


def now_sql(connection: BaseDatabaseWrapper) -> str:
    """Return the SQL for the current time as Django stores a ``DateTimeField``."""
    if connection.vendor == "postgresql":
        return "STATEMENT_TIMESTAMP()"
    if connection.vendor == "mysql":
        return f"(UTC_TIMESTAMP(6) + INTERVAL {_offset(connection)} SECOND)"
    return f"STRFTIME({SQLITE_FORMAT}, '{_offset(connection)} seconds')"


def after_sql(connection: BaseDatabaseWrapper, seconds: float) -> str:
    """Return the SQL for the current time plus some seconds, written as a number, which costs less than a parameter."""
    number = f"{seconds:.6f}"
    if connection.vendor == "postgresql":
        # Not make_interval, which each new connection looks up with the names and defaults of its arguments.
        return f"(STATEMENT_TIMESTAMP() + '{number} seconds'::interval)"
    offset = _offset(connection, seconds)
    if connection.vendor == "mysql":
        return f"(UTC_TIMESTAMP(6) + INTERVAL ({offset} + {number}) SECOND)"
    return f"STRFTIME({SQLITE_FORMAT}, ({offset} + {number}) || ' seconds')"


def retained_sql(connection: BaseDatabaseWrapper) -> str:
    """Return the SQL for when a row that ends now is to be pruned: after its ``retention``, NULL for never."""
    if connection.vendor == "postgresql":
        return "(STATEMENT_TIMESTAMP() + retention)"
    if connection.vendor == "mysql":
        return f"(UTC_TIMESTAMP(6) + INTERVAL ({_offset(connection)} * 1000000 + retention) MICROSECOND)"
    return f"STRFTIME({SQLITE_FORMAT}, ({_offset(connection)} + retention / 1000000.0) || ' seconds')"


def _offset(connection: BaseDatabaseWrapper, ahead: float = 0.0) -> int:
    """Return by how many seconds stored times are ahead of UTC, for a moment in ``ahead`` seconds.

    Without USE_TZ Django stores local times, and with a database's own TIME_ZONE that zone's; only PostgreSQL converts
    by itself. Where the clocks are put back meanwhile, a lease must not end at once, so it lasts an hour longer.
    """
    zone = connection.timezone or timezone.get_default_timezone()
    if zone is UTC:
        return 0
    now = datetime.now(UTC)
    here, there = (_seconds(moment.astimezone(zone)) for moment in (now, now + timedelta(seconds=ahead)))
    return there if abs(ahead) > _CLOCK_CHANGE else max(here, there)


def _seconds(moment: datetime) -> int:
    offset = moment.utcoffset()
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
