"""Ring the broker's bell for a committed row. Failure costs a delay, never the work: the sweeper rings again.

A caller never waits for a broken broker: connecting and sending are bounded, and after a failure this process leaves
publishing to the sweeper for a moment.
"""

import dataclasses
import logging
import struct
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from celery import Celery
from kombu import Producer
from kombu.exceptions import SerializationError, SerializerNotInstalled

from django_task_safety.conf import conf
from django_task_safety.errors import InvalidPayload
from django_task_safety.ledger import schedule, table
from django_task_safety.options import TaskOptions
from django_task_safety.producer import broker, call_options, canvas, header, messages
from django_task_safety.producer.call import Call
from django_task_safety.producer.header import HEADER
from django_task_safety.record import AbstractOperation, State
from django_task_safety.registry import task_of
from django_task_safety.values import codec
from django_task_safety.values.clock import Now, as_aware
from django_task_safety.values.log_fields import log_about

logger = logging.getLogger("django_task_safety")

#: What a message that cannot be made raises; a broker raises none of these. AMQP raises struct.error for a number that
#: does not fit into its bytes.
_BROKEN = (
    *(LookupError, TypeError, ValueError, AttributeError, struct.error),
    *(SerializationError, SerializerNotInstalled, InvalidPayload),
)
#: Seconds for which a process does not try the broker again after it failed.
PAUSE = 2.0
#: So many messages may be refused before the others are not tried: the broker may refuse all.
_REFUSALS = 3


def publish_calls(task: TaskOptions, made: Sequence[tuple[Call, AbstractOperation]]) -> None:
    """Publish what was just enqueued, each call with the row that answers for it; never raises."""
    if not made:
        return

    def send(producer: Producer) -> None:
        for call, operation in made:
            _send(task, producer, operation, call)

    operations = [operation for _, operation in made]
    if _guarded(task.app, operations, send):
        _leave_to_sweeper(operations, "the broker refused one of them")


def publish_again(task: TaskOptions, request: Any, said: Mapping[str, Any], delay: float) -> bool:
    """Publish the message that a worker holds once more, to come back after ``delay`` seconds; say whether it went."""
    options = {**canvas.routing(request), **canvas.waiting(request), "expires": request.expires, "countdown": delay}
    options.update({name: vars(request).get(name) for name in ("ignore_result", "argsrepr", "kwargsrepr")})
    options = {name: value for name, value in options.items() if value is not None}
    custom = {name: value for name, value in (request.headers or {}).items() if name != HEADER}
    custom.update({name: getattr(request, name) for name in ("stamped_headers", "stamps") if getattr(request, name)})
    sent: list[bool] = []

    def send(producer: Producer) -> None:
        message = messages.make(task, request.id, request.args, request.kwargs, {**options, "headers": custom})
        message.send(producer, said, custom)
        sent.append(True)

    _guarded(task.app, [], send)
    return bool(sent)


def publish_plain(app: Celery, name: str, args: Sequence[Any], **options: Any) -> bool:
    """Publish a message of no operation; say whether it went. Never raises."""
    sent: list[bool] = []

    def send(producer: Producer) -> None:
        app.send_task(name, args, producer=producer, retry=False, ignore_result=True, **options)
        sent.append(True)

    _guarded(app, [], send)
    return bool(sent)


@dataclasses.dataclass(slots=True)
class Published:
    """What became of rows that were to be published; those in neither list were left alone, as the broker failed."""

    sent: list[AbstractOperation] = dataclasses.field(default_factory=list)
    #: Rows of which no message can be made, and why.
    broken: list[tuple[AbstractOperation, Exception]] = dataclasses.field(default_factory=list)
    #: Rows over which the project's own code failed, which has a say in publishing.
    failed: list[tuple[AbstractOperation, Exception]] = dataclasses.field(default_factory=list)
    #: Rows whose message the broker did not take, while it took others: a queue that is declared otherwise, say.
    refused: list[AbstractOperation] = dataclasses.field(default_factory=list)


def publish_rows(operations: Iterable[AbstractOperation]) -> Published:
    """Publish rows as they are stored, one that fails no less than the others. Never raises."""
    published, of_apps = Published(), dict[Celery, deque[tuple[TaskOptions, AbstractOperation]]]()
    for operation in operations:
        try:
            if task := _task_of(operation):
                of_apps.setdefault(task.app, deque()).append((task, operation))
        except InvalidPayload as exc:
            published.broken.append((operation, exc))
    for app, left in of_apps.items():
        while left and _guarded(app, [one for _, one in left], partial(_send_rows, left, published)):
            published.refused.append(left.popleft()[1])
            if len(published.refused) >= _REFUSALS:
                _leave_to_sweeper([one for _, one in left], "the broker refused others")
                break
    return published


def _task_of(operation: AbstractOperation) -> TaskOptions | None:
    task = task_of(operation)
    if task is None:
        log_about(operation, logging.WARNING, "the task %s is not registered here", operation.task)
    return task


def _send_rows(left: deque[tuple[TaskOptions, AbstractOperation]], published: Published, producer: Producer) -> None:
    broker_errors = broker.errors(producer.connection)
    while left:
        task, operation = left[0]
        try:
            if _send_row(task, producer, operation):
                published.sent.append(operation)
        except _BROKEN as exc:
            published.broken.append((operation, exc))
        except broker_errors:
            raise
        except Exception as exc:
            published.failed.append((operation, exc))
        left.popleft()


def _send_row(task: TaskOptions, producer: Producer, operation: AbstractOperation) -> bool:
    args, kwargs = codec.loads(operation.payload, task.app)
    options = call_options.read(operation)
    if operation.attempt == 0 and operation.expires_at is not None:
        options["expires"] = as_aware(operation.expires_at)
    wait = (operation.available_at - (operation.__dict__.get("_now") or table.now())).total_seconds()
    if wait > conf().MAX_BROKER_DELAY:
        return False
    if wait > 0:
        options["countdown"] = wait
    _send(task, producer, operation, Call(args, kwargs, options, operation.payload, operation))
    return True


def _send(task: TaskOptions, producer: Producer, operation: AbstractOperation, call: Call) -> None:
    """Publish one operation, unless it waits longer than the broker is to hold it."""
    options = call.options
    eta = options.get("eta")
    if eta is not None and eta - datetime.now(UTC) > timedelta(seconds=conf().MAX_BROKER_DELAY):
        return
    options = {"retries": operation.attempt, **options} if operation.attempt else options
    message = messages.prepared(call, operation)
    if message is None:
        message = messages.make(task, call_options.celery_id(operation.pk, options), call.args, call.kwargs, options)
    message.send(producer, header.make(operation, call.args, call.kwargs, eta), options.get("headers") or {})


def _guarded(app: Celery, operations: Collection[AbstractOperation], send: Callable[[Producer], None]) -> bool:
    """Call ``send`` with a producer of the app's; where that fails leave the operations to the sweeper.

    Returns:
        Whether the broker refused one message, and may take the others: this is left to the caller.
    """
    try:
        connection = broker.broker_connection(app)
    except Exception as exc:  # the transport's library is not there
        logger.exception("publishing failed")
        _leave_to_sweeper(operations, f"publishing failed: {exc!r}")
        return False
    if time.monotonic() < connection.paused_until:
        _leave_to_sweeper(operations, "the broker failed a moment ago", logging.DEBUG)
        return False
    try:
        with connection.pool.acquire(block=True, timeout=conf().PUBLISH_TIMEOUT) as producer:
            send(producer)
    except connection.broker_errors as exc:
        connection.pool = broker.new_pool(app)
        if isinstance(exc, connection.refusals):
            logger.warning("the broker refused a message: %r", exc)
            return True
        connection.paused_until = time.monotonic() + PAUSE
        _leave_to_sweeper(operations, f"the broker failed: {exc!r}")
    except Exception as exc:
        logger.exception("publishing failed")
        _leave_to_sweeper(operations, f"publishing failed: {exc!r}")
    return False


def _leave_to_sweeper(operations: Collection[AbstractOperation], why: str, level: int = logging.WARNING) -> None:
    ids = [operation.pk for operation in operations]
    logger.log(level, "%d operation(s) wait for the sweeper: %s", len(ids), why)
    try:
        queued = table.by_id(*ids).filter(state=State.QUEUED)
        # Only what is to run now comes forward; the rest is looked at in its own time.
        schedule.reschedule_free(queued.filter(available_at__lte=Now()), conf().SWEEP_INTERVAL)
    except Exception:
        logger.warning("they will be published after REPUBLISH_AFTER", exc_info=True)
