"""Messages as Celery makes them: at the call, for the caller's context belongs to it, and sent when it is committed.

Instrumentation adds headers where a message is made (a trace, a request's id, a tenant), by Celery's signals or around
its `send_task`. They are kept in the row, and whoever publishes that later, sends them instead of its own.
"""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Self

from celery.app.task import Context
from celery.backends.rpc import RPCBackend
from kombu import Connection, Producer

from django_task_safety.errors import InvalidPayload
from django_task_safety.options import TaskOptions
from django_task_safety.producer import call_options, redaction
from django_task_safety.producer.call import Call
from django_task_safety.producer.header import HEADER
from django_task_safety.record import AbstractOperation
from django_task_safety.texts import storable
from django_task_safety.values import codec
from django_task_safety.values.log_fields import log_about

#: Celery's own headers; custom ones may be repeated in one called "headers".
_CELERYS = {*vars(Context), "lang", "task", "argsrepr", "kwargsrepr", HEADER} - {"headers"}
_NOWHERE = Connection("memory://")


class _Recorder(Producer):
    """Keeps what it is to publish, and connects to nothing."""

    published: list[tuple[tuple[Any, ...], dict[str, Any]]]

    @classmethod
    def new(cls) -> Self:
        """Return another one like the first: making one of kombu's producers takes much of the time of a call."""
        made = cls.__new__(cls)
        made.__dict__.update(vars(_first()), published=[])
        return made

    def publish(self, *args: Any, **kwargs: Any) -> None:
        self.published.append((args, kwargs))


@lru_cache(maxsize=1)
def _first() -> _Recorder:
    return _Recorder(_NOWHERE)


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """What Celery would publish for a call: the message, and the event that says so where that is on."""

    task: TaskOptions
    task_id: str
    ignored: bool
    published: Sequence[tuple[tuple[Any, ...], dict[str, Any]]]

    @property
    def headers(self) -> dict[str, Any]:
        """The message's headers."""
        return dict(self.published[0][1]["headers"])

    @property
    def queue(self) -> str:
        """The name of the queue that it goes to, or the routing key where an exchange finds the queue."""
        said = self.published[0][1]
        declared: Any = next(iter(said.get("declare") or ()), None)
        return storable(str(getattr(declared, "name", None) or said.get("routing_key") or ""))[:255]

    def send(self, producer: Producer, header: Mapping[str, Any], kept: Mapping[str, Any]) -> None:
        """Publish it.

        Args:
            header: What it says of the row.
            kept: The call's own headers, which count more than those of whoever made this message of it.
        """
        backend: Any = self.task.backend
        if not self.ignored and isinstance(backend, RPCBackend):
            backend.on_task_call(producer, self.task_id)
        (args, kwargs), *events = self.published
        producer.publish(*args, **{**kwargs, "headers": {**self.headers, **kept, HEADER: dict(header)}})
        for args, kwargs in events:
            producer.publish(*args, **kwargs)


def make(
    task: TaskOptions, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
) -> Message:
    """Have Celery make the message of a call, with its signals and whatever is hooked to them."""
    exec_options = task._get_exec_options()  # type: ignore[attr-defined]
    said = {**exec_options, "expires": None, **redaction.reprs(task, args, kwargs), **options}
    for name in call_options.OURS:
        said.pop(name, None)
    ignore = said.pop("ignore_result", None)
    ignored = bool(task.ignore_result if ignore is None else ignore)
    shadow_name: Any = task.shadow_name
    shadow = said.pop("shadow", None) or shadow_name(args, kwargs, said)
    headers = {**said.pop("headers", {}), "ignore_result": ignored}
    # "ignore_result=True" keeps send_task from subscribing to the result here, which would block while the result
    # store is down; the header tells the worker the truth. Who waits for a result subscribes then.
    said.update(ignore_result=True, retry=False, add_to_parent=False)
    recorder = _Recorder.new()
    addressed = {"task_id": task_id, "producer": recorder, "task_type": task, "headers": headers, "shadow": shadow}
    task.app.send_task(task.name, list(args), dict(kwargs), **{**said, **addressed})
    return Message(task, task_id, ignored, recorder.published)


def prepare(task: TaskOptions, call: Call) -> Call:
    """Return the call with its message, and with the headers that were added to that."""
    row, options = call.operation, call.options
    try:
        message = make(task, call_options.celery_id(row.pk, options), call.args, call.kwargs, options)
    except Exception:
        # Publishing tries again, and the sweeper says what is wrong with it.
        log_about(row, logging.DEBUG, "its message could not be made at the call", exc_info=True)
        return call
    row.queue = message.queue
    given = options.get("headers") or {}
    added = {name: value for name, value in message.headers.items() if _is_added(name, value, given)}
    if added:
        options = {**options, "headers": {**given, **added}}
        row.options = call_options.dump(options)
    return dataclasses.replace(call, options=options, prepared=(message, row, options))


def _is_added(name: str, value: Any, given: Mapping[str, Any]) -> bool:
    if name in _CELERYS or (name in given and given[name] == value):
        return False
    try:
        return bool(codec.dumps(value, "json"))
    except InvalidPayload:
        return False  # goes with this message only


def prepared(call: Call, row: AbstractOperation) -> Message | None:
    """Return the message that was made at the call, if it is that row's, and says what the call says now."""
    message: Message | None
    message, its_row, options = call.prepared or (None, None, None)
    if message is None or its_row is not row or options is not call.options:
        return None
    return message if message.task_id == call_options.celery_id(row.pk, options) else None
