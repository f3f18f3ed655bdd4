"""Messages that travel between processes, and the passing of time after a crash."""

import base64
from collections.abc import Iterable
from typing import Any

from kombu.message import Message as KombuMessage

from django_task_safety.conf import conf
from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from tests.support.delivering import LocalWorker

#: A message as what JSON can carry.
Message = dict[str, Any]


def to_json(message: KombuMessage) -> Message:
    """Return a message that another process can be given."""
    body = message.body if isinstance(message.body, bytes) else message.body.encode()
    return {
        "body": base64.b64encode(body).decode(),
        "content_type": message.content_type,
        "content_encoding": message.content_encoding,
        "headers": message.headers,
        "properties": message.properties,
        "delivery_info": message.delivery_info,
    }


def from_json(message: Message) -> KombuMessage:
    """Return a fresh copy of the message."""
    return KombuMessage(**{**message, "body": base64.b64decode(message["body"])})


def deliver(worker: LocalWorker, messages: Iterable[Message]) -> None:
    """Deliver each of them once."""
    for message in messages:
        worker.deliver(from_json(message))


def pass_lease(worker: LocalWorker) -> None:
    """Let so much time pass that leases end, waits are over, and lost messages are noticed."""
    worker.pass_time(max(conf().LEASE, conf().REPUBLISH_AFTER) + 1)


def unfinished() -> bool:
    """Return whether something still has to run, or its outcome to be delivered."""
    rows = Operation.all_rows.all()
    return rows.filter(state__in=Operation.PENDING).exists() or rows.filter(delivered=False).exists()


def recover(worker: LocalWorker, messages: list[Message], *, sweep_first: bool) -> None:
    """What follows on a crash: copies of the messages at any time, time, sweeps; until nothing is pending.

    Whether the sweeper or a copy of the message comes first to the dead attempt is chosen.
    """
    deliver(worker, messages)  # while the dead attempt's lease still holds
    pass_lease(worker)
    if sweep_first:
        sweeper.sweep()
    deliver(worker, messages)
    deliver(worker, messages)
    drain(worker)
    deliver(worker, messages)
    drain(worker)


def drain(worker: LocalWorker) -> None:
    """Go on until nothing is pending."""
    for _ in range(25):
        deliver(worker, map(to_json, worker.take()))
        if not unfinished():
            return
        pass_lease(worker)
        sweeper.sweep()
    raise AssertionError(f"still pending: {list(Operation.all_rows.filter(state__in=Operation.PENDING))}")
