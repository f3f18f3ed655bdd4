"""The embedded broker: kombu's filesystem transport, made to behave like a server.

A message that a worker holds lies in the folder ``unacked`` until it is acknowledged, and goes back to the queue when
the worker's connection is gone. While the broker is stopped, every connection, publish, fetch and acknowledgement is
refused, on all sides. And it can be told to take every message twice.
"""

import time
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty

from kombu.transport import filesystem, virtual
from kombu.utils.json import dumps, loads

#: Where tasks wait; other queues carry the messages that control workers.
TASKS = "celery"


class Server:
    """The broker's folder: its queues, and the marker files that are its state."""

    def __init__(self, folder):
        folder = Path(folder)
        self.queue, self.unacked, self.control = (folder / name for name in ("queue", "unacked", "control"))
        self.stopped, self.twice = folder / "stopped", folder / "twice"
        for one in (self.queue, self.unacked, self.control):
            one.mkdir(parents=True, exist_ok=True)

    def refuse_if_stopped(self):
        if self.stopped.exists():
            raise ConnectionRefusedError("[Errno 111] Connection refused")

    def stop(self):
        self.stopped.touch()

    def start(self):
        self.redeliver()
        self.stopped.unlink(missing_ok=True)

    def redeliver(self, pattern="*"):
        """Put back what was not acknowledged, as a server does when a connection is gone."""
        for message in self.unacked.glob(pattern):
            with suppress(FileNotFoundError):
                message.rename(self.queue / message.name)

    def is_idle(self):
        return not any(self.unacked.iterdir()) and not any(self.queue.glob(f"*.{TASKS}.msg"))

    @contextmanager
    def publishing_twice(self):
        self.twice.touch()
        try:
            yield
        finally:
            self.twice.unlink()

    def put(self, queue, payload):
        """Write the message under another name first, so that nobody reads half of it."""
        name = f"{time.time_ns()}_{payload['properties']['delivery_tag']}.{queue}.msg"
        unfinished = self.control / name
        unfinished.write_text(dumps(payload))
        unfinished.rename(self.queue / name)

    def take(self, queue, keep):
        """Return the oldest message and, for one that is to be acknowledged, keep it until then."""
        for message in sorted(self.queue.iterdir()):
            if message.name.partition(".")[2] != f"{queue}.msg":
                continue
            held = self.unacked / message.name
            with suppress(FileNotFoundError):
                message.rename(held)
                payload = loads(held.read_text())
                if not keep:
                    held.unlink()
                return payload
        raise Empty


class QoS(virtual.QoS):
    def ack(self, delivery_tag):
        self.channel.acknowledge(delivery_tag)
        super().ack(delivery_tag)

    def reject(self, delivery_tag, requeue=False):
        super().reject(delivery_tag, requeue)
        if not requeue:
            self.channel.acknowledge(delivery_tag)


class Channel(filesystem.Channel):
    QoS = QoS

    def __init__(self, connection, **kwargs):
        super().__init__(connection, **kwargs)
        self.server = Server(self.transport_options["folder"])
        self.unacknowledged_queues = set()

    data_folder_in = property(lambda self: str(self.server.queue))
    control_folder = property(lambda self: self.server.control)

    def basic_consume(self, queue, no_ack, *args, **kwargs):
        if no_ack:
            self.unacknowledged_queues.add(queue)
        return super().basic_consume(queue, no_ack, *args, **kwargs)

    def acknowledge(self, delivery_tag):
        self.server.refuse_if_stopped()
        for message in self.server.unacked.glob(f"*_{delivery_tag}.*"):
            message.unlink(missing_ok=True)

    def _put(self, queue, payload, **kwargs):
        self.server.refuse_if_stopped()
        self.server.put(queue, payload)
        if queue == TASKS and self.server.twice.exists():
            payload["properties"]["delivery_tag"] = str(uuid.uuid4())
            self.server.put(queue, payload)

    def _get(self, queue):
        self.server.refuse_if_stopped()
        return self.server.take(queue, keep=queue not in self.unacknowledged_queues)

    def _restore(self, message):
        self.server.redeliver(f"*_{message.delivery_tag}.*")


class Transport(filesystem.Transport):
    Channel = Channel
    #: What publishers try again, and workers reconnect after.
    connection_errors = (*filesystem.Transport.connection_errors, ConnectionRefusedError)

    def establish_connection(self):
        Server(self.client.transport_options["folder"]).refuse_if_stopped()
        return super().establish_connection()
