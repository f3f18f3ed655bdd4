"""What went wrong with an operation, and who did something about it: lines of JSON in one column, oldest first.

A line is put after the others by the statement that makes the change, so nobody reads before he writes, and many rows
get theirs at once. What is too much is cut off in front. A good first attempt writes nothing.
"""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from django.db.models import Case, F, TextField, Value, When
from django.db.models.functions import Concat, Right

from django_task_safety.record import AbstractOperation, State
from django_task_safety.values import codec
from django_task_safety.values.clock import as_aware, as_stored
from django_task_safety.values.people import text_of_user

#: How many attempts, and how many events, are shown.
SHOWN = 20
#: How many parts the line of an attempt has, and that of an event; and the events that begin to count anew.
_LENGTHS = {"a": 7, "e": 5}
_RERUNS = ("retry", "rerun")
#: Why an attempt ended that somebody else goes on with.
LEASE_EXPIRED = "Its worker was lost (lease expired)."
#: Characters kept of a text, and of the whole column: more than enough for those that are shown.
_TEXT, _ALL = 200, 120_000


@dataclasses.dataclass(frozen=True, slots=True)
class AttemptRecord:
    """An attempt that has ended."""

    number: int
    worker: str
    started_at: datetime | None
    ended_at: datetime | None
    #: ``succeeded``, ``failed``, ``retried``, ``requeued`` (its worker was lost, or was told to go) or ``cancelled``.
    outcome: str
    error: str


@dataclasses.dataclass(frozen=True, slots=True)
class EventRecord:
    """What somebody did with the operation."""

    at: datetime
    #: ``cancel``, ``retry`` or ``rerun``.
    what: str
    #: The primary key of the user who did it, as text; "" where nobody is known.
    by: str
    why: str


def attempt(operation: AbstractOperation, outcome: str, error: str, ended: datetime | None = None) -> str:
    """Return the line of the attempt that the row tells of, which ends now, or has ``ended`` then."""
    began = None if operation.started_at is None else as_aware(operation.started_at).isoformat()
    moments = (began, (as_aware(ended) if ended else datetime.now(UTC)).isoformat())
    return _line(["a", operation.attempt, operation.worker, *moments, outcome, codec.printable(error, _TEXT)])


def lost(operation: AbstractOperation, seen: datetime) -> str:
    """Return the line of the attempt whose lease had run out when it was ``seen``, and which another one takes over."""
    return attempt(operation, "requeued", LEASE_EXPIRED, seen)


def event(what: str, by: Any = None, why: str = "") -> str:
    """Return the line of what somebody does now."""
    return _line(["e", datetime.now(UTC).isoformat(), what, text_of_user(by), codec.printable(why, _TEXT)])


def _line(parts: list[Any]) -> str:
    return json.dumps(parts) + "\n"


def with_line(line: str) -> Any:
    """Return the column with one more line, as an expression."""
    return Right(Concat(F("history"), Value(line)), _ALL)


def with_lines(lines: Mapping[uuid.UUID, str]) -> Any:
    """Return the column with a line of its own for each of several rows, as one expression."""
    each = (When(pk=pk, then=Value(line)) for pk, line in lines.items())
    return Right(Concat(F("history"), Case(*each, default=Value(""), output_field=TextField())), _ALL)


def attempts(operation: AbstractOperation) -> list[AttemptRecord]:
    """Return the attempts that ended, oldest first, the last 20; of those that succeeded at once there are none.

    The line of one that another took over is written after that one's claim. Where that was lost too, the numbers tell.
    """
    found: list[AttemptRecord] = []
    last = 0
    for kind, *told in _lines(operation):
        if kind == "e":
            last = 0 if told[1] in _RERUNS else last
            continue
        number, worker, began, ended, outcome, error = told
        found += _lost(last, number)
        found.append(AttemptRecord(number, worker, began and _moment(began), _moment(ended), outcome, error))
        last = number
    if operation.state in (State.RUNNING, State.SUCCEEDED):
        found += _lost(last, operation.attempt)
    if found and operation.state == State.SUCCEEDED:
        # Success adds nothing to the column, for it would have to be looked at: it is what the row says.
        times = operation.started_at, operation.ended_at
        found.append(AttemptRecord(operation.attempt, operation.worker, *times, "succeeded", ""))
    return found[-SHOWN:]


def _lost(last: int, number: int) -> list[AttemptRecord]:
    """Return those between two attempts, the first of which may have been before a rerun that left no line either."""
    missing = range(max(last + 1 if number > last else 1, number - SHOWN), number)
    return [AttemptRecord(one, "", None, None, "requeued", LEASE_EXPIRED) for one in missing]


def events(operation: AbstractOperation) -> list[EventRecord]:
    """Return what was done with the operation, oldest first, the last 20."""
    told = [line for line in _lines(operation) if line[0] == "e"]
    return [EventRecord(_moment(at), what, by, why) for _, at, what, by, why in told][-SHOWN:]


def _lines(operation: AbstractOperation) -> Iterator[list[Any]]:
    for text in operation.history.splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue  # the first one, of which the beginning is cut off
        if isinstance(line, list) and line and _LENGTHS.get(str(line[0])) == len(line):
            yield line


def _moment(text: str) -> datetime:
    """Return a moment as Django gives those of the row."""
    return as_stored(as_aware(datetime.fromisoformat(text)))
