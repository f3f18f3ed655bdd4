"""What people read of an operation: its state in a word and a sign, times in words, and errors that are safe to show.

Texts from here name no exception and no argument, so that they may be shown to whoever may see the operation.
"""

from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.translation import gettext, ngettext, pgettext

from django_task_safety.record import AbstractOperation, State
from django_task_safety.values.clock import as_aware

_ICONS = {State.QUEUED: "◷", State.RUNNING: "▶", State.SUCCEEDED: "✓", State.FAILED: "✗", State.CANCELLED: "⊘"}
_TONES = {
    State.QUEUED: "quiet",
    State.RUNNING: "busy",
    State.SUCCEEDED: "good",
    State.FAILED: "bad",
    State.CANCELLED: "quiet",
}
_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60))
#: Seconds between two looks at an operation: a tenth of its age, within these.
_SOONEST, _LATEST = 1, 15


def icon(state: str) -> str:
    """Return the character that stands for a state; it says nothing that the word beside it does not say."""
    return _ICONS[State(state)]


def tone(operation: AbstractOperation) -> str:
    """Return "quiet", "busy", "good" or "bad": how much the state asks for attention, for a stylesheet's classes."""
    return _TONES[State(operation.state)]


def state_word(operation: AbstractOperation) -> str:
    """Return the state as people say it, in the language that is active."""
    state = State(operation.state)
    if state == State.QUEUED and as_aware(operation.available_at) > as_aware(timezone.now()):
        return pgettext("state of an operation", "scheduled")
    return state_words()[state]


def state_words() -> dict[State, str]:
    """Return each state as people say it, in the language that is active."""
    return {
        State.QUEUED: pgettext("state of an operation", "waiting"),
        State.RUNNING: pgettext("state of an operation", "running"),
        State.SUCCEEDED: pgettext("state of an operation", "done"),
        State.FAILED: pgettext("state of an operation", "failed"),
        State.CANCELLED: pgettext("state of an operation", "cancelled"),
    }


def public_error(operation: AbstractOperation) -> str:
    """Return why it did not succeed, in words that are safe to show to anybody; "" where it did, or is pending."""
    if operation.state == State.FAILED:
        return gettext("This could not be completed.")
    return gettext("This was cancelled.") if operation.state == State.CANCELLED else ""


def percent(operation: AbstractOperation) -> int | None:
    """Return how far it has come, from 0 to 100; None where nobody said."""
    if operation.state == State.SUCCEEDED:
        return 100
    return None if operation.progress is None else int(operation.progress * 100)


def age(operation: AbstractOperation) -> timedelta:
    """Return how long ago it was asked for."""
    return _since(operation.created_at, None)


def duration(operation: AbstractOperation) -> timedelta | None:
    """Return how long its last attempt has been running, or ran; None where it has not started."""
    return None if operation.started_at is None else _since(operation.started_at, operation.ended_at)


def next_poll(operation: AbstractOperation) -> int | None:
    """Return after how many seconds it is worth looking again; None where it has ended."""
    if not operation.is_pending:
        return None
    return int(min(max(age(operation).total_seconds() / 10, _SOONEST), _LATEST))


def in_words(time: timedelta | None) -> str:
    """Return a length of time in its largest unit: "3 min"; "" for None."""
    if time is None:
        return ""
    seconds = int(time.total_seconds())
    unit, size = next(((name, size) for name, size in _UNITS if seconds >= size), ("second", 1))
    count = seconds // size
    if unit == "day":
        return ngettext("%(count)d day", "%(count)d days", count) % {"count": count}
    patterns = {
        "hour": pgettext("length of time", "%(count)d h"),
        "minute": pgettext("length of time", "%(count)d min"),
        "second": pgettext("length of time", "%(count)d s"),
    }
    return patterns[unit] % {"count": count}


def _since(start: datetime, end: datetime | None) -> timedelta:
    # The host's clock may be behind the database's.
    return max((as_aware(end) if end else as_aware(timezone.now())) - as_aware(start), timedelta(0))
