"""What is refused when a task is defined: unknown options, and values that cannot work."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from string import Formatter
from typing import Any

from celery import Task

from django_task_safety.conf import LONGEST, seconds
from django_task_safety.errors import InvalidOption, did_you_mean
from django_task_safety.options.task_options import (
    IDEMPOTENT_OPTIONS,
    MOST_RETRIES,
    POLICIES,
    SAFE_OPTIONS,
    TaskOptions,
    parameter_names,
)
from django_task_safety.values import codec

_CHOICES = {
    "on_delete": POLICIES,
    "on_duplicate": ("return", "raise", "replace"),
    "rerun": ("failed", "never", "always"),
}
#: Django has constants of the same names.
_IMPORTED = {"on_delete": " Import CANCEL, PROTECT and KEEP from django_task_safety, not from django.db.models."}
#: Celery takes these as task options although `Task` has no attribute of the name.
CELERY_OPTIONS = {
    *("name", "base", "bind", "shared", "lazy", "filter", "queue", "routing_key", "exchange", "exchange_type"),
    *("priority", "delivery_mode", "compression", "immediate", "mandatory", "autoretry_for", "dont_autoretry_for"),
    *("retry_kwargs", "retry_backoff", "retry_backoff_max", "retry_jitter", "expires"),
    *("pydantic", "pydantic_strict", "pydantic_context", "pydantic_dump_kwargs"),
}
_SINGLE = ("subject", "version")
_CELERYS_SECONDS = ("time_limit", "soft_time_limit", "default_retry_delay", "retry_kwargs")


def refuse_unknown(options: Iterable[str], base: type[Task[Any, Any]], own: Iterable[str]) -> None:
    """Raise for an option that neither Celery, nor the base class, nor this package knows. Raises `InvalidOption`
    naming the nearest option that exists."""
    only_idempotent = set(IDEMPOTENT_OPTIONS) - set(own)
    known = {name for name in dir(base) if not name.startswith("_")} | CELERY_OPTIONS | set(own)
    known -= only_idempotent
    for option in options:
        if option in only_idempotent:
            raise InvalidOption(
                f"Unknown task option {option!r}: safe_task has no such option, but idempotent_task has."
            )
        if option not in known:
            raise InvalidOption(f"Unknown task option {option!r}.{did_you_mean(option, known)}")


def check(task: type[TaskOptions]) -> None:
    """Validate the options of a task class whose function is known. Raises `InvalidOption` saying which option is wrong
    and what it takes."""
    _take_retry_kwargs(task)
    _check_durations(task)
    where = f"Task {task.name}"
    if not codec.is_name(task.name):
        raise InvalidOption(
            f"{where:.80}: its name must be text of at most {codec.LONGEST_NAME} characters, without NUL."
        )
    _check_idempotent(where, task)
    for option, choices in _CHOICES.items():
        value = getattr(task, option)
        if value not in choices:
            takes = ", ".join(map(repr, choices))
            raise InvalidOption(f"{where}: {option}={value!r}; it takes one of {takes}.{_IMPORTED.get(option, '')}")
    _check_function(where, task.run)
    _check_counts(where, task)
    _check_exceptions(where, task)
    parameters = list(inspect.signature(task.run).parameters)
    if not isinstance(inspect.getattr_static(task, "run"), staticmethod):
        del parameters[:1]  # self
    for option in ("subject", "key", "match", "version"):
        _check_parameters(where, option, getattr(task, option), parameters)
    _check_redact(where, task, parameters)
    _check_title(where, task, parameters)
    if task.idempotent:
        _check_outside_key(where, task)
    for option in () if task.idempotent else ("key", "match", "version", "period"):
        if getattr(task, option) is not None:
            raise InvalidOption(
                f"{where}: {option} is for idempotent tasks: say idempotent = True in its class as well."
            )


def _check_idempotent(where: str, task: Any) -> None:
    """What is said of one task must not be lost on it; a base class may say it for those that are idempotent."""
    for option in () if task.idempotent else IDEMPOTENT_OPTIONS:
        if option not in SAFE_OPTIONS and task.__dict__.get(option) is not None:
            raise InvalidOption(f"{where}: {option} is an option of idempotent tasks. Use @idempotent_task.")


def _take_retry_kwargs(task: Any) -> None:
    """Take Celery's ``retry_kwargs`` for what they mean: a bound, and a fixed wait where no backoff is given."""
    given = task.__dict__.get("retry_kwargs") or {}
    if not isinstance(given, Mapping) or given.keys() - {"max_retries", "countdown"}:
        raise InvalidOption(f"Task {task.name}: retry_kwargs takes max_retries and countdown, not {given!r}.")
    if "max_retries" in given:
        task.max_retries = given["max_retries"]
    if given.get("countdown") is not None and "retry_backoff" not in task.__dict__:
        _check_duration(f"Task {task.name}", "retry_kwargs", given["countdown"])
        task.retry_backoff, task.default_retry_delay = False, given["countdown"]


def _check_durations(task: type[Task[Any, Any]]) -> None:
    durations = ("period", "retention", "retry_backoff_max", "time_limit", "soft_time_limit", "default_retry_delay")
    for option in (*durations, "expires"):
        _check_duration(f"Task {task.name}", option, getattr(task, option, None))


def _check_duration(where: str, option: str, value: Any) -> None:
    if value is None or (option == "expires" and isinstance(value, datetime)):
        return
    if option == "period" and not isinstance(value, timedelta):
        raise InvalidOption(f"{where}: period must be a timedelta, not {value!r}.")
    if option in _CELERYS_SECONDS and isinstance(value, timedelta):
        raise InvalidOption(f"{where}: {option} is Celery's own, which takes a number of seconds, not {value!r}.")
    try:
        seconds(value)
    except ValueError as exc:
        raise InvalidOption(f"{where}: {option} must be {exc}.") from None


def _check_counts(where: str, task: Any) -> None:
    if isinstance(task.max_payload, bool) or not isinstance(task.max_payload, int | None) or task.max_payload == 0:
        raise InvalidOption(f"{where}: max_payload must be a positive number of bytes, not {task.max_payload!r}.")
    for option, kind, lowest, highest in (
        ("max_retries", int, 0, MOST_RETRIES),
        ("max_payload", int, 1, None),
        ("retry_backoff", int | float, 0, LONGEST),
    ):
        value = getattr(task, option)
        if value is not None and not (
            isinstance(value, kind) and value >= lowest and (highest is None or value <= highest)
        ):
            bounds = f"from {lowest}" if highest is None else f"from {lowest} to {highest:g}"
            whole = "a whole number" if kind is int else "a number"
            raise InvalidOption(f"{where}: {option} must be {whole} {bounds}, not {value!r}.")
    soft, hard = task.soft_time_limit, task.time_limit
    if soft is not None and hard is not None and soft >= hard:
        raise InvalidOption(f"{where}: soft_time_limit ({soft:g} s) must be below time_limit ({hard:g} s).")
    if task.lock is not None and not codec.is_name(task.lock):
        raise InvalidOption(
            f"{where}: lock must be a name of at most {codec.LONGEST_NAME} characters, without NUL, "
            f"not {task.lock!r:.80}."
        )
    for option in ("atomic", "retry_jitter", "public_result"):
        if not isinstance(getattr(task, option), bool):
            raise InvalidOption(f"{where}: {option} must be True or False, not {getattr(task, option)!r}.")


def _check_exceptions(where: str, task: Any) -> None:
    """``retry_on`` and Celery's two lists take exception classes; the first also a callable."""
    rule = task.retry_on
    is_rule = callable(rule) and not isinstance(rule, type)
    for option, value in (
        ("retry_on", () if rule is None or is_rule else rule),
        ("autoretry_for", task.autoretry_for),
        ("dont_autoretry_for", task.dont_autoretry_for),
    ):
        classes = value if isinstance(value, list | tuple | set | frozenset) else (value,)
        if not all(isinstance(one, type) and issubclass(one, BaseException) for one in classes):
            takes = "exception classes" + (" or a callable of the exception" if option == "retry_on" else "")
            raise InvalidOption(f"{where}: {option} takes {takes}, not {value!r}.")


def _check_parameters(where: str, option: str, value: Any, parameters: Any) -> None:
    if value is None or (option == "key" and isinstance(value, Callable)):  # type: ignore[arg-type]
        return
    names = parameter_names(value)
    if not names or not all(isinstance(name, str) for name in names) or (option in _SINGLE and len(names) != 1):
        takes = "a parameter's name" if option in _SINGLE else "a parameter's name or several names"
        raise InvalidOption(f"{where}: {option} takes {takes}, not {value!r}.")
    for name in names:
        if name not in parameters:
            raise InvalidOption(
                f"{where}: {option} names the parameter {name!r}, which the task does not have."
                f"{did_you_mean(name, parameters)}"
            )


def _check_redact(where: str, task: type[TaskOptions], parameters: Any) -> None:
    """A name that hides nothing would be noticed when it is too late; a base class may name what not all tasks take."""
    names = task.redact
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise InvalidOption(f"{where}: redact takes a list or tuple of parameters' names, not {names!r}.")
    if names and "redact" in task.__dict__:
        takes_more = any(one.kind is one.VAR_KEYWORD for one in inspect.signature(task.run).parameters.values())
        _check_parameters(where, "redact", names, [*parameters, *(names if takes_more else ())])


def _check_title(where: str, task: Any, parameters: Any) -> None:
    title = task.title
    if title is None or (callable(title) and not isinstance(title, str)):
        return
    takes = "a format string over the task's parameters, such as 'Copy {note}', or a callable"
    if not isinstance(title, str):
        raise InvalidOption(f"{where}: title takes {takes}, not {title!r}.")
    try:
        fields = [field for _, field, _, _ in Formatter().parse(title) if field is not None]
    except ValueError as exc:
        raise InvalidOption(f"{where}: title={title!r}; it takes {takes}: {exc}.") from exc
    _check_parameters(where, "title", [re.split(r"[.\[]", field)[0] for field in fields] or None, parameters)


def _check_function(where: str, function: Any) -> None:
    """A call must do the work: that of a coroutine function or a generator only makes an object that nobody runs."""
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidOption(f"{where} is an async function, which a worker does not await. Wrap it in async_to_sync().")
    if inspect.isgeneratorfunction(function):
        raise InvalidOption(f"{where} is a generator, which a worker does not iterate. Return a list, or nothing.")


def _check_outside_key(where: str, task: Any) -> None:
    """Two calls with one key must be able to differ in what ``match`` and ``version`` name."""
    if task.key is None or callable(task.key):
        return
    key = parameter_names(task.key)
    for option in ("match", "version"):
        value = getattr(task, option)
        if value is not None and all(name in key for name in parameter_names(value)):
            raise InvalidOption(
                f"{where}: {option}={value!r} is part of the key, so that it never differs for the same key. "
                "Name with key= what makes two calls the same work, without it."
            )
