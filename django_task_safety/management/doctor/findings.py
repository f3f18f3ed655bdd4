"""What a probe found, and how it asks without waiting for ever."""

import dataclasses
import threading
from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

from django_task_safety.ledger.own_connections import own_connections
from django_task_safety.values import codec

T = TypeVar("T")


class Condition(StrEnum):
    """How something is."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "cannot tell"


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """How one thing is, and what to do about it where it is not good."""

    about: str
    condition: Condition
    text: str
    hint: str = ""


def good(about: str, text: str) -> Finding:
    return Finding(about, Condition.GOOD, text)


def bad(about: str, text: str, hint: str = "") -> Finding:
    return Finding(about, Condition.BAD, text, hint)


def unknown(about: str, text: str, hint: str = "") -> Finding:
    return Finding(about, Condition.UNKNOWN, text, hint)


def said(exc: BaseException) -> str:
    """Return an exception in one line."""
    return codec.one_line(" ".join(codec.describe(exc).split()))


class NoAnswer(Exception):
    """What was asked did not answer in time."""


def within(seconds: float, ask: Callable[[], T]) -> T:
    """Ask something that may hang, in a thread of its own, and return what it answers.

    Raises:
        NoAnswer: If it does not answer in time; the thread is left behind.
        Exception: Whatever it raises.
    """
    answer: list[Any] = []

    @own_connections()
    def run() -> None:
        try:
            answer.append((ask(), None))
        except BaseException as exc:  # also a driver's SystemExit is no reason to end the doctor
            answer.append((None, exc))

    thread = threading.Thread(target=run, name="task-safety-doctor", daemon=True)
    thread.start()
    thread.join(seconds)
    if not answer:
        raise NoAnswer(f"no answer within {seconds:g} s")
    value, failure = answer[0]
    if failure is not None:
        raise failure
    found: T = value
    return found
