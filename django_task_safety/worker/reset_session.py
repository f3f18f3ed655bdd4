"""A connection to PostgreSQL is made like a new one between two tasks, as connection poolers do."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper

from django_task_safety.conf import conf
from django_task_safety.worker import sessions
from django_task_safety.worker.instead import instead
from django_task_safety.worker.sessions import Session

#: Seconds that a connection goes from task to task: what a balancer points elsewhere, or grew large, is left in time.
MAX_LIFETIME = 60.0
#: Where the driver's connection keeps when it was first put away (monotonic).
_SINCE = "task_safety_since"


def put_away(connection: BaseDatabaseWrapper) -> Session | None:
    """Undo what a task did to the server's session: settings, roles, advisory locks, temporary tables.

    Returns:
        What waits for the next task, `sessions.close_if_idle`; None where the connection is to be closed.
    """
    driver, patience = connection.connection, conf().CONN_MAX_IDLE
    if not patience or not _resettable(connection):
        return None
    if time.monotonic() - vars(driver).setdefault(_SINCE, time.monotonic()) > MAX_LIFETIME:
        return None
    params = connection.get_connection_params()
    try:
        connection.rollback()
        # Not through Django's cursor: these are no statements of the project's.
        with connection.wrap_database_errors:
            driver.execute("DISCARD ALL")
            # Until the minor releases of November 2024 that forgot the role that a login begins with.
            driver.execute("RESET ROLE")
    except Error:
        return None
    # All that closing does but the end of the session itself.
    with instead(connection, _close=lambda: None):
        connection.close()
    session = Session(connection.alias, driver, params=params)
    sessions.close_if_idle(session, patience)
    return session


def _resettable(connection: BaseDatabaseWrapper) -> bool:
    """Return whether the server's session and the driver's connection are all there is, and nobody else minds them.

    Other databases connect fast. A backend that is not Django's own may pool connections or note what it set, and so do
    Django's pool and PgBouncer, for which projects disable server-side cursors. A driver that prepares statements would
    not learn that they are gone.
    """
    if connection.vendor != "postgresql":
        return False
    from django.db.backends.postgresql.base import DatabaseWrapper
    from django.db.backends.postgresql.psycopg_any import is_psycopg3

    settings, driver = connection.settings_dict, connection.connection
    plain = type(connection) is DatabaseWrapper and is_psycopg3 and type(driver) is connection.Database.Connection
    minded = settings["OPTIONS"].get("pool") or settings.get("DISABLE_SERVER_SIDE_CURSORS")
    return bool(plain and not minded and _untouched(driver, settings["OPTIONS"]))


def _untouched(driver: Any, options: dict[str, Any]) -> bool:
    """Return whether psycopg's connection is as Django made it: what it remembers no server can undo."""
    handlers = getattr(driver, "_notice_handlers", ()) or getattr(driver, "_notify_handlers", ())
    set_ = (driver.prepare_threshold, driver.read_only, driver.deferrable)
    # Django sets a configured isolation level again.
    level = None if "isolation_level" in options else driver.isolation_level
    return not handlers and set_ == (None, None, None) and level is None and driver.row_factory.__name__ == "tuple_row"


class _Driver:
    """The driver's module, which has a connection with these parameters already."""

    def __init__(self, module: Any, connection: Any, params: dict[str, Any]) -> None:
        self._module, self._connection, self._params = module, connection, params

    def connect(self, **params: Any) -> Any:
        return self._connection if params == self._params else self._module.connect(**params)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def set_up(connection: Any, driver: Any, params: dict[str, Any]) -> None:
    """Let Django connect as it always does, which finds the connection that is there: time zone, role, and who listens
    to ``connection_created`` have their turn. Where it is dead, or one to another place is wanted, there is none yet.
    """
    module = connection.Database
    with instead(connection, Database=_Driver(module, driver, params)):
        try:
            connection.connect()
        except BaseException as exc:
            with contextlib.suppress(Exception):
                connection.close()
            if not isinstance(exc, module.Error | Error):
                raise
        finally:
            if connection.connection is not driver:
                driver.close()
