"""This process's own connections for publishing: Celery's wait as long as the project's retry settings say."""

import dataclasses
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from celery import Celery
from kombu.exceptions import OperationalError
from kombu.pools import ProducerPool

from django_task_safety.conf import conf

#: How many connections a process keeps for publishing.
_CONNECTIONS = 10


@dataclasses.dataclass(slots=True)
class BrokerConnection:
    """This process's connections to one broker, and until when it is left alone after it failed."""

    pid: int
    pool: ProducerPool
    broker_errors: tuple[type[BaseException], ...]
    #: Those of them that are about what was sent rather than about the broker.
    refusals: tuple[type[BaseException], ...]
    paused_until: float = 0.0


_connections: WeakKeyDictionary[Any, BrokerConnection] = WeakKeyDictionary()


#: What makes the connections to another broker than the apps' own.
_replacement: Callable[[Celery], BrokerConnection] | None = None


@contextmanager
def replaced(connect: Callable[[Celery], BrokerConnection]) -> Iterator[None]:
    """Publish by the connections that ``connect`` makes during the block, in all threads of this process."""
    global _replacement
    before, _replacement = _replacement, connect
    try:
        yield
    finally:
        _replacement = before


def broker_connection(app: Celery) -> BrokerConnection:
    """Return this process's connection to the app's broker; a forked child gets one of its own."""
    if _replacement is not None:
        return _replacement(app)
    # Kept as long as Celery keeps its own: who points the app to another broker makes a new ``app.amqp``.
    found = _connections.get(app.amqp)
    if found is None or found.pid != os.getpid():
        pool = new_pool(app)
        connection: Any = pool.connections.connection
        found = _connections[app.amqp] = BrokerConnection(
            os.getpid(), pool, errors(connection), connection.channel_errors
        )
    return found


def errors(connection: Any) -> tuple[type[BaseException], ...]:
    """Return the exceptions that are the broker's, and not of what is published."""
    return (OSError, OperationalError, *connection.connection_errors, *connection.channel_errors)


def new_pool(app: Celery) -> ProducerPool:
    """Return connections that try once, and give up after ``PUBLISH_TIMEOUT``."""
    timeout = conf().PUBLISH_TIMEOUT
    options = dict(app.conf.broker_transport_options or {})
    options.update(max_retries=0, interval_start=0, interval_step=0, interval_max=0)
    connection = app.connection_for_write(connect_timeout=timeout, transport_options=options)
    connection.transport_options = {**options, **_timeouts(timeout).get(connection.transport.driver_type, {})}
    return ProducerPool(connection.Pool(_CONNECTIONS), limit=_CONNECTIONS, Producer=app.amqp.Producer)


def _timeouts(timeout: float) -> dict[str, dict[str, Any]]:
    return {
        "redis": {"socket_timeout": timeout, "socket_connect_timeout": timeout, "retry_on_timeout": False},
        "amqp": {"read_timeout": timeout, "write_timeout": timeout},
    }
