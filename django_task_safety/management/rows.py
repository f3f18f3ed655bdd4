"""Operations as the command shows them, as text and as JSON, whose names are those of the columns."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from django_task_safety import presentation
from django_task_safety.errors import InvalidPayload
from django_task_safety.management.console import columns
from django_task_safety.models import Operation
from django_task_safety.producer import redaction
from django_task_safety.values.clock import as_aware
from django_task_safety.values.identity import Identity

#: What no list shows, and may be long.
LONG = ("payload", "options", "history", "result_payload", "traceback", "exception")

_BRIEF = (
    *("id", "task", "title", "state", "key", "queue", "requested_by", "worker", "attempt", "max_attempts"),
    *("progress", "progress_message", "error", "created_at", "available_at", "started_at", "ended_at"),
)


def brief(operation: Operation) -> dict[str, Any]:
    """Return what a list says of an operation, also why it does not move."""
    return {name: getattr(operation, name) for name in _BRIEF} | {"object": object_of(operation), "why": operation.why}


def full(operation: Operation) -> dict[str, Any]:
    """Return all that is known of an operation; values that nobody is to read are masked."""
    return brief(operation) | {
        "arguments": _readable(lambda: redaction.arguments_of(operation)),
        "result": _readable(lambda: operation.result),
        "traceback": operation.traceback,
        "idempotency_key": operation.idempotency_key,
        "lease_expires_at": operation.lease_expires_at,
        "waits_for": operation.waits_for,
        "attempts": [dataclasses.asdict(one) for one in operation.attempts],
        "events": [dataclasses.asdict(one) for one in operation.events],
    }


def object_of(operation: Operation) -> str:
    """Return the operation's object as ``--object`` takes it; "" for none."""
    identity = Identity.stored(operation)
    return f"{identity.label}:{identity.pk}" if identity.label else ""


def _readable(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except InvalidPayload as exc:
        return {"unreadable": str(exc)}


def listed(operations: Iterable[Operation]) -> list[str]:
    """Return operations as the lines of a table."""
    head = ("ID", "STATE", "AGE", "TOOK", "QUEUE", "OBJECT", "TITLE", "ERROR")
    return columns([head, *map(_cells, operations)])


def _cells(operation: Operation) -> tuple[str, ...]:
    return (
        str(operation.pk),
        presentation.icon(operation.state) + " " + presentation.state_word(operation),
        presentation.in_words(presentation.age(operation)),
        presentation.in_words(presentation.duration(operation)),
        operation.queue or "-",
        object_of(operation) or "-",
        _short(operation.title or operation.task, 60),
        _short(operation.error or operation.why, 60),
    )


def described(operation: Operation) -> Iterator[str]:
    """Yield all that is known of an operation as lines of text."""
    data = full(operation)
    attempts, events, traceback = data.pop("attempts"), data.pop("events"), data.pop("traceback")
    arguments = data.pop("arguments")
    # Nobody needs to read what says nothing.
    yield from columns((f"{name}:", _text(value)) for name, value in data.items() if value not in (None, ""))
    yield "arguments:"
    if arguments is None:
        yield "  not shown: its task is not registered here, so that nobody knows what is to be hidden"
    yield from (f"  {name} = {value}" for name, value in (arguments or {}).items())
    yield from _section("attempts", (_attempt(one) for one in attempts))
    yield from _section("events", (_event(one) for one in events))
    yield from _section("traceback", traceback.splitlines())


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    if found := list(lines):
        yield f"{title}:"
        yield from (f"  {line}" for line in found)


def _attempt(one: dict[str, Any]) -> str:
    times = f"{_text(one['started_at'])} to {_text(one['ended_at'])}"
    said = f"{one['number']}. {one['outcome']} on {one['worker']}, {times}"
    return f"{said}: {one['error']}" if one["error"] else said


def _event(one: dict[str, Any]) -> str:
    by = f" by {one['by']}" if one["by"] else ""
    return f"{_text(one['at'])} {one['what']}{by}" + (f": {one['why']}" if one["why"] else "")


def moment(value: datetime) -> str:
    """Return a time as people read it, to the second, in the project's time zone."""
    return timezone.localtime(as_aware(value)).isoformat(sep=" ", timespec="seconds")


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return moment(value)
    return presentation.in_words(value) if isinstance(value, timedelta) else str(value)


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
