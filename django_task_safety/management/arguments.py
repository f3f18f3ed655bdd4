"""The arguments that several actions share: what they accept, and what they say to what they do not."""

import argparse
import re
import uuid
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandParser

from django_task_safety.errors import InvalidArguments, did_you_mean
from django_task_safety.ids import uuid_of
from django_task_safety.ledger.filters import Filters
from django_task_safety.management.console import WrongCall
from django_task_safety.models import Operation
from django_task_safety.producer.key import digests_of_all
from django_task_safety.values.identity import Identity, model_named, root_model

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")
#: A hundred years.
_LONGEST_DAYS = 36_600


class Parser(CommandParser):
    """Django's; a wrong call ends with 2 also where it was made in Python."""

    def error(self, message: str) -> Any:
        wrong_call(self, message)


def wrong_call(parser: CommandParser, message: str) -> Any:
    """Say how the command is called, and end with 2. Raises `WrongCall` where it was called in Python."""
    if parser.called_from_command_line:
        argparse.ArgumentParser.error(parser, message)
    raise WrongCall(f"Error: {message}")


def djangos_options() -> Parser:
    """Return what lets Django's own options follow the action as well, where they are not given before it."""
    parser = Parser(add_help=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("-v", "--verbosity", type=int, choices=range(4), help=argparse.SUPPRESS)
    for option in ("--settings", "--pythonpath"):
        parser.add_argument(option, help=argparse.SUPPRESS)
    for option in ("--traceback", "--no-color", "--force-color", "--skip-checks"):
        parser.add_argument(option, action="store_true", help=argparse.SUPPRESS)
    return parser


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which operations are meant; they are called as the columns."""
    add = parser.add_argument_group("which operations").add_argument
    states = ", ".join(Operation.State.values)
    add("--state", action="append", type=state, metavar="STATE", help=f"{states}; may be repeated")
    add("--task", default="", metavar="NAME", help="the task's registered name")
    add("--queue", default="", metavar="NAME")
    add("--object", default="", metavar="LABEL[:PK]", help="app_label.Model:pk, or all objects of app_label.Model")
    add("--key", metavar="KEY", help="an idempotency key, as it is shown")
    add("--requested-by", metavar="PK", help="the primary key of the user who asked for it")
    add("--stuck", action="store_true", help="those that should have moved and did not")
    add("--ended-within", type=duration, metavar="TIME", help="a number of seconds, or 15m, 2h, 1d")


def filters_of(
    *,
    state: list[str] | None,
    task: str,
    queue: str,
    object: str,
    key: str | None,
    requested_by: str | None,
    stuck: bool,
    ended_within: timedelta | None,
    **others: Any,
) -> Filters:
    """Return what the options say. Raises `WrongCall` where an object can be none."""
    identity, model = _object(object)
    return Filters(
        states=tuple(dict.fromkeys([state] if isinstance(state, str) else state or ())),
        task=task,
        queue=queue,
        object=identity,
        model=model,
        key_digests=None if key is None else frozenset(digests_of_all(key)),
        requested_by=requested_by,
        stuck=stuck,
        ended_within=ended_within,
    )


def _object(text: str) -> tuple[Identity | None, str]:
    """Return the object, or the label of the model, that ``label:pk`` or ``label`` names."""
    label, colon, key = text.partition(":")
    try:
        if colon:
            return Identity.named(label, key), ""
        return None, root_model(model_named(label))._meta.label_lower if text else ""
    except (LookupError, InvalidArguments) as exc:
        raise WrongCall(f"--object {text}: {exc.args[0]}") from exc


def operation_of(pk: uuid.UUID) -> Operation:
    """Return the operation with that id. Raises `WrongCall` where there is none."""
    found: Operation | None = Operation.all_rows.filter(pk=pk).first()
    if found is None:
        raise WrongCall(f"No operation has the id {pk}: it never had, or it was pruned after its retention.")
    return found


def operation_id(text: str) -> uuid.UUID:
    """Return an operation's id."""
    if (found := uuid_of(text)) is None:
        raise argparse.ArgumentTypeError(f"an operation's id, a UUID, not {text!r}")
    return found


def state(text: str) -> str:
    """Return a state's value."""
    if text.lower() in Operation.State.values:
        return text.lower()
    known = ", ".join(Operation.State.values)
    hint = did_you_mean(text.lower(), Operation.State.values)
    raise argparse.ArgumentTypeError(f"one of {known}, not {text!r}.{hint}")


def duration(text: str) -> timedelta:
    """Return a length of time: a number of seconds, or one with a unit."""
    if found := _DURATION.fullmatch(text.strip()):
        with suppress(OverflowError):
            time = timedelta(seconds=float(found[1]) * _UNITS[found[2]])
            if time <= timedelta(days=_LONGEST_DAYS):
                return time
    raise argparse.ArgumentTypeError(f"a number of seconds, or one with a unit as in 15m, 2h and 1d, not {text!r}")


def seconds(text: str) -> float:
    """Return a length of time in seconds."""
    return duration(text).total_seconds()


def days(text: str) -> float:
    """Return a number of days, 0 or more."""
    with suppress(ValueError):
        if 0 <= float(text) < 1_000_000:
            return float(text)
    raise argparse.ArgumentTypeError(f"a number of days, 0 or more, not {text!r}")


def count(text: str) -> int:
    """Return a whole number, 1 or more."""
    with suppress(ValueError):
        if int(text) >= 1:
            return int(text)
    raise argparse.ArgumentTypeError(f"a whole number, 1 or more, not {text!r}")


def as_list(given: Any) -> list[Any]:
    """Return an option that may be repeated, also where a caller in Python gave one value, as a list."""
    if given is None:
        return []
    return list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
