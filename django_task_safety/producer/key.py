"""The idempotency key of a call: what makes two calls the same work."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from django.apps import apps
from django.db import models
from django.utils import timezone

from django_task_safety import registry
from django_task_safety.errors import InvalidArguments, InvalidKey, InvalidPayload
from django_task_safety.options import TaskOptions, parameter_names
from django_task_safety.producer import redaction
from django_task_safety.record import AbstractOperation
from django_task_safety.values import codec, keys, references

#: What stands between a readable key and the beginning of its period.
_AT, _MOMENT = " @ ", "%Y-%m-%dT%H:%M:%SZ"


def set_key(
    task: TaskOptions,
    arguments: dict[str, Any],
    operation: AbstractOperation,
    eta: datetime | None,
    known: Mapping[references.Reference, models.Model],
) -> None:
    """Write into an operation what makes a call the same work as another, and what ``match`` and ``version`` compare.

    Raises:
        InvalidKey, InvalidArguments: Where that cannot be said.
    """
    if callable(task.key):
        selected = _round_trip(keys.select(task.key, references.load(arguments, known)))
    else:
        selected = keys.select(task.key, arguments)
    period = _period(task, eta or timezone.now())
    # Invariant: one row per key.
    parts = (task.name, selected, *period)
    operation.key_digest = keys.digest(*parts)
    suffix = "".join(f"{_AT}{_begin(task, number):{_MOMENT}}" for number in period)
    operation.key = codec.printable(_readable(task, arguments, selected) or operation.key_digest, 240) + suffix
    if task.match:
        operation.match_digest = keys.digest([arguments[name] for name in task.match])
    if task.version is not None:
        operation.version = _version(task, arguments[task.version])


def digests(task: TaskOptions, text: str) -> list[str]:
    """Return the digests of the keys of a task that people may mean by a text: what they read of one, or its value."""
    said, _, moment = text.rpartition(_AT) if task.period is not None and _AT in text else (text, "", "")
    try:
        at = datetime.strptime(moment, _MOMENT).replace(tzinfo=UTC) if moment else timezone.now()
    except ValueError:
        return []
    return [keys.digest(task.name, value, *_period(task, at)) for value in _meant(said)]


def digests_of_all(text: str) -> set[str]:
    """Return the digests of the keys of all tasks of this process that people may mean by a text."""
    found: set[str] = set()
    for task in registry.safe_tasks():
        if task.idempotent:
            with contextlib.suppress(InvalidKey):
                found.update(digests(task, text))
    return found


def _meant(text: str) -> Iterator[Any]:
    """Yield the values that are read as that text."""
    yield text
    for read in (json.loads, UUID, date.fromisoformat, datetime.fromisoformat):
        with contextlib.suppress(ValueError):
            yield read(text)
    label, _, pk = text.partition(":")
    with contextlib.suppress(LookupError, ValueError, InvalidArguments):
        yield references.Reference.by_key(apps.get_model(label), pk)


def _period(task: TaskOptions, moment: datetime) -> tuple[int, ...]:
    """Return the number of the period in which a moment is, where the task has periods."""
    return () if task.period is None else (int(moment.timestamp() // task.period.total_seconds()),)


def _begin(task: TaskOptions, period: int) -> datetime:
    return datetime.fromtimestamp(period * (task.period or timedelta()).total_seconds(), UTC)


def _readable(task: TaskOptions, arguments: Mapping[str, Any], selected: Any) -> str:
    """Return the key as people read it; nothing of arguments that nobody said are the key."""
    if task.key is None:
        return ""
    if callable(task.key):
        return keys.readable(redaction.shown(task, selected))
    names = parameter_names(task.key)
    named = redaction.shown(task, {name: arguments[name] for name in names})
    return keys.readable(named[task.key] if isinstance(task.key, str) else [named[name] for name in names])


def _round_trip(selected: Any) -> Any:
    """What a key function returns may hold model instances and values that change when they are serialised."""
    try:
        return references.parse(codec.loads(codec.dumps(references.dump(selected), "json")))
    except InvalidPayload as exc:
        raise InvalidKey(
            f"The key function returned {type(selected).__name__}, which is not serialisable: {exc}"
        ) from exc


def _version(task: TaskOptions, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | datetime | date):
        takes = "the version must be a whole number, a date or a datetime"
        raise InvalidArguments(f"{task.name}: {takes}, not {codec.quoted(value)}.")
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    number = value if isinstance(value, int) else value.toordinal()
    if not -(2**63) <= number < 2**63:
        raise InvalidArguments(f"{task.name}: the version {number} does not fit into 64 bits.")
    return number
