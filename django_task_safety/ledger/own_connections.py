"""Connections of our own, for what runs beside the bodies: outside the project's pools (``OPTIONS["pool"]``).

The bodies may have taken all that a pool has, and whoever renews their leases must not wait for them. And children
inherit the pool that their parent has opened when they are forked: Celery closes it there, and with it the parent's
connections.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper


def outside_pool(alias: str) -> BaseDatabaseWrapper:
    """Return a new connection to a database that belongs to no pool; whoever takes it closes it."""
    made = connections.create_connection(alias)
    options = {name: value for name, value in made.settings_dict["OPTIONS"].items() if name != "pool"}
    made.settings_dict = {**made.settings_dict, "OPTIONS": options}
    return made


@contextmanager
def own_connections() -> Iterator[None]:
    """Have this thread use no pool during the block, and leave it no connection; also a decorator.

    What stands in an open transaction goes on in it.
    """
    _leave_none()
    pooled = {}
    for alias in connections:
        if connections.settings[alias]["OPTIONS"].get("pool") and not connections[alias].in_atomic_block:
            pooled[alias], connections[alias] = connections[alias], outside_pool(alias)
    try:
        yield
    finally:
        _leave_none()
        for alias, connection in pooled.items():
            connections[alias] = connection


def _leave_none() -> None:
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
