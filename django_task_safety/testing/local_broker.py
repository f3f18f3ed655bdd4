"""A broker in this process, to which operations are published while a test runs: no other one is connected to."""

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery
from kombu import Connection
from kombu.message import Message
from kombu.pools import ProducerPool
from kombu.transport import memory
from kombu.transport.virtual.base import BrokerState

from django_task_safety import registry
from django_task_safety.producer import broker
from django_task_safety.producer.broker import BrokerConnection


def _transport() -> type[memory.Transport]:
    """Return a transport whose queues are seen by nobody else: kombu keeps those of its own for the whole process."""

    class Channel(memory.Channel):
        queues: dict[str, Any] = {}
        events: defaultdict[str, set[Any]] = defaultdict(set)

    class Transport(memory.Transport):
        global_state = BrokerState()

    Transport.Channel = Channel
    return Transport


def keep_messages_here() -> None:
    """Have all that Celery itself publishes stay in this process, which was forked and shares its connections."""
    for app in registry.all_apps():
        app.conf.update(broker_url="memory://", broker_write_url="memory://", broker_transport_options={})
        vars(app).pop("amqp", None)  # a cached property, with connections to the broker of before


class LocalBroker:
    """Takes what is published by any Celery app of this process, and hands it out when it is asked to."""

    def __init__(self) -> None:
        self._connection = Connection(transport=_transport())

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Have everything published here during the block."""
        with broker.replaced(self._connect):
            yield

    def take(self) -> list[Message]:
        """Take all messages, in order within each queue."""
        channel: Any = self._connection.default_channel
        taken = []
        for queue in list(channel.queues):
            while message := channel.basic_get(queue, no_ack=True):
                taken.append(message)
        return taken

    def _connect(self, app: Celery) -> BrokerConnection:
        pool = ProducerPool(self._connection.Pool(1), limit=1, Producer=app.amqp.Producer)
        return BrokerConnection(os.getpid(), pool, (), ())
