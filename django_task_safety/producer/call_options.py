"""The options of one call (``apply_async``): made plain and absolute, and refused where no broker could take them."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from celery.canvas import Signature
from celery.exceptions import QueueNotFound
from celery.utils.functional import maybe_list
from django.conf import settings
from django.utils import timezone
from kombu import compression

from django_task_safety import ids
from django_task_safety.conf import LONGEST, seconds
from django_task_safety.errors import InvalidArguments, InvalidOption, did_you_mean
from django_task_safety.registry import APP, app_of
from django_task_safety.texts import storable
from django_task_safety.values import codec, references

if TYPE_CHECKING:
    from django_task_safety.options import TaskOptions
    from django_task_safety.record import AbstractOperation

#: Calling options that make other tasks hear of the outcome.
CANVAS = ("link", "link_error", "chain", "chord")
#: And those that say to which group the outcome belongs.
GROUP = ("group_id", "group_index")
#: All that says who waits.
AWAITED = (*CANVAS, *GROUP, "root_id", "parent_id")
#: What rows keep of a call besides what is published.
OURS = ("task_id", "caller", APP)
#: Of no use once the caller has gone: they are for one publish, now.
_NOT_STORED = {"producer", "connection", "publisher", "retry", "retry_policy", "router", "result_cls", "add_to_parent"}
_KINDS: dict[str, type] = {
    **{"queue": str, "exchange": str, "routing_key": str, "compression": str, "serializer": str},
    **{"priority": int, "headers": Mapping},
}
#: AMQP has one byte for a priority, and for the length of a name.
_BYTE = 255
#: What Celery's and kombu's publishing take. Others are passed on, for a transport may know them, unless they look
#: like one of these misspelt.
_KNOWN = {
    *("args", "kwargs", "task_id", "producer", "connection", "publisher", "router", "route_name", "result_cls"),
    *("countdown", "eta", "expires", "time_limit", "soft_time_limit"),
    *("retry", "retries", "retry_policy", "max_retries"),
    *("link", "link_error", "chain", "chord", "callbacks", "errbacks", "group", "group_id", "group_index"),
    *("root_id", "parent_id", "reply_to", "correlation_id", "replaced_task_nesting", "add_to_parent", "task_type"),
    *("queue", "exchange", "exchange_type", "routing_key", "priority", "serializer", "compression", "headers"),
    *("shadow", "argsrepr", "kwargsrepr", "origin", "ignore_result", "stamped_headers", "stamps", "create_sent_event"),
    *("delivery_mode", "mandatory", "immediate", "content_type", "content_encoding", "declare", "expiration"),
    *("timeout", "confirm_timeout", "properties", "message_id", "timestamp", "type", "user_id", "app_id", "cluster_id"),
    *("throw", "logfile", "loglevel", "now", "timezone", "delivery_info", "immutable", "subtask_type", "task_name"),
    *OURS,
}
_TAKES = {
    "countdown": "it takes a number of seconds from 0, or a timedelta",
    "eta": "it takes a datetime with a time zone",
    "expires": "it takes a positive number of seconds, a timedelta, or a datetime with a time zone",
}


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that say something."""
    return {name: value for name, value in options.items() if value is not None}


def one_call(one: Sequence[Any] | Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Return one of ``enqueue_many``'s calls as args and kwargs. Raises `InvalidArguments` if it is neither a sequence
    of the one nor a mapping of the other."""
    if isinstance(one, Mapping):
        return (), one
    if isinstance(one, Sequence) and not isinstance(one, str | bytes):
        return tuple(one), {}
    raise InvalidArguments(
        f"enqueue_many takes tuples of positional arguments or dicts of keyword arguments, not {one!r:.80}."
    )


def read(operation: AbstractOperation) -> dict[str, Any]:
    """Return the options that an operation's row keeps."""
    return codec.loads(operation.options) if operation.options else {}


def dump(options: Mapping[str, Any]) -> str:
    """Return the options as an operation's row keeps them: without those that have columns."""
    kept = {name: value for name, value in options.items() if name not in ("eta", "expires", "task_id")}
    written = options.get("task_id")
    if isinstance(written, str) and written != str(ids.uuid_of(written)):
        kept["task_id"] = written
    return codec.dumps(kept, "json") if kept else ""


def celery_id(pk: uuid.UUID, options: Mapping[str, Any]) -> str:
    """Return the id by which Celery knows an operation: its own, as the caller who gave these options wrote it."""
    written = options.get("task_id")
    return written if isinstance(written, str) and ids.uuid_of(written) == pk else str(pk)


def has_canvas(options: Mapping[str, Any]) -> bool:
    """Return whether other tasks are to hear of the outcome."""
    return any(options.get(name) for name in CANVAS)


def stored(task: TaskOptions, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the calling options as plain data, with countdown and expires made absolute."""
    _refuse_misspelt(options)
    kept = {name: value for name, value in options.items() if name not in _NOT_STORED and value is not None}
    for name in ("queue", "exchange"):
        kept[name] = getattr(kept.get(name), "name", kept.get(name))
    countdown = moment("countdown", kept.pop("countdown", None))
    kept["eta"] = moment("eta", kept.get("eta")) or countdown
    kept["expires"] = moment("expires", kept.get("expires", task.expires))
    for name in ("link", "link_error"):
        kept[name] = _callbacks(name, kept.get(name))
    _publishable(task, kept)
    headers = {name: value for name, value in (kept.get("headers") or {}).items() if name != "task_safety"}
    kept["headers"], kept[APP] = headers, app_of(task)
    kept = {name: value for name, value in kept.items() if value is not None and value != {}}
    for name in CANVAS:
        if kept.get(name):
            kept[name] = references.dump(kept[name])
    return kept


def _refuse_misspelt(options: Mapping[str, Any]) -> None:
    for name in options.keys() - _KNOWN - set(options.get("stamped_headers") or ()):
        if hint := did_you_mean(name, _KNOWN, cutoff=0.8):
            raise InvalidOption(f"Unknown calling option {name!r}.{hint}")


def _callbacks(name: str, given: Any) -> list[Any] | None:
    """Return callbacks as signatures: Celery takes one or several, and the name of a task as well. Raises
    `InvalidOption` for anything else, at which the worker would only stumble when the task has succeeded."""
    named = [Signature(one) if isinstance(one, str) else one for one in maybe_list(given) or ()]
    for one in named:
        if not isinstance(one, Mapping) or not one.get("task"):
            raise InvalidOption(f"{name} takes signatures, as task.s() makes them, not {one!r:.80}.")
    return named or None


def freeze_links(options: dict[str, Any], pk: uuid.UUID) -> None:
    """Give each callback an id that follows from the call's, so that calling back twice is one operation."""
    if not options.get("link"):
        return
    frozen = []
    for number, sig in enumerate(options["link"]):
        # Groups and chords give their members ids of their own each time.
        if sig.get("subtask_type") in (None, "") and not (sig.get("options") or {}).get("task_id"):
            own = {**(sig.get("options") or {}), "task_id": str(uuid.uuid5(pk, f"link:{number}"))}
            sig = Signature.from_dict({**sig, "options": own})
        frozen.append(sig)
    options["link"] = frozen


def _publishable(task: TaskOptions, options: dict[str, Any]) -> None:
    """Refuse what no broker could ever take: a queue that nobody declares, an unknown compression, and the like. Raises
    `InvalidOption` naming the option."""
    for option in _KINDS.keys() & {name for name, value in options.items() if value is not None}:
        _check_kind(option, options[option])
    for option in ("time_limit", "soft_time_limit"):
        limit = options.get(option)
        try:
            if limit is not None and (isinstance(limit, timedelta) or not seconds(limit)):
                raise ValueError(f"a number of seconds, not {limit!r}")
        except ValueError as exc:
            raise InvalidOption(f"{option} must be {exc}.") from None
    if "compression" in options and options["compression"] not in compression.encoders():
        raise InvalidOption(f"compression={options['compression']!r}: kombu has {', '.join(compression.encoders())}.")
    name = options.get("queue")
    if name is not None:
        try:
            router: Any = task.app.amqp.router
            router.expand_destination(name)
        except QueueNotFound as exc:
            raise InvalidOption(
                f"queue={name!r} is not in task_queues, and task_create_missing_queues is off. Declare the queue."
            ) from exc


def _check_kind(option: str, value: Any) -> None:
    kind = _KINDS[option]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InvalidOption(f"{option}={value!r} must be a {kind.__name__}.")
    if isinstance(value, str) and len(value.encode("utf-8", "replace")) > _BYTE:
        raise InvalidOption(f"{option}={value!r:.40} is longer than {_BYTE} bytes.")
    if isinstance(value, str) and storable(value) != value:
        raise InvalidOption(f"{option}={value!r:.40} must be text without NUL.")
    if isinstance(value, int) and not 0 <= value <= _BYTE:
        raise InvalidOption(f"{option}={value!r} must be from 0 to {_BYTE}.")


def moment(name: str, value: Any) -> datetime | None:
    """Return an ETA, an expiry, or a number of seconds from now, as an aware datetime. Raises `InvalidOption` saying
    what the option takes."""
    if value is None:
        return None
    if isinstance(value, str) and name != "countdown":
        with contextlib.suppress(ValueError):
            value = datetime.fromisoformat(value)
    if isinstance(value, datetime) and name != "countdown":
        return _sensible(name, value)
    if isinstance(value, timedelta):
        value = value.total_seconds()
    number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LONGEST
    if not number or name == "eta" or (name == "expires" and value == 0):
        raise InvalidOption(f"{name}={value!r}: {_TAKES[name]}.")
    return datetime.now(UTC) + timedelta(seconds=value) if value else None


def _sensible(name: str, value: datetime) -> datetime:
    if value.tzinfo is None and settings.USE_TZ:
        raise InvalidOption(f"{name}={value!r} is a naive datetime: say which time zone, as timezone.now() does.")
    try:
        aware = value if value.tzinfo else timezone.make_aware(value)
        if abs(until(aware)) <= LONGEST:
            return aware
    except OverflowError:
        pass  # the end of the calendar, in another time zone
    raise InvalidOption(f"{name}={value!r} is more than a hundred years away.")


def wait(options: Mapping[str, Any]) -> float:
    eta = options.get("eta")
    return max(0.0, until(eta)) if eta is not None else 0.0


def until(moment: datetime) -> float:
    return (moment - datetime.now(UTC)).total_seconds()
