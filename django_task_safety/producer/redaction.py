"""Which arguments nobody is to read: what ``TASK_SAFETY["REDACT"]`` and the option ``redact`` name."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from celery.utils.saferepr import saferepr
from django.views.debug import SafeExceptionReporterFilter

from django_task_safety.conf import conf
from django_task_safety.errors import InvalidPayload
from django_task_safety.options import TaskOptions
from django_task_safety.producer.signature import signature_of
from django_task_safety.record import AbstractOperation
from django_task_safety.registry import task_of
from django_task_safety.values import codec, masking, references
from django_task_safety.values.references import Reference

#: How many characters of an argument are shown.
_SHOWN = 1_000


def hides(task: TaskOptions, name: Any) -> bool:
    """Return whether nobody is to read the value of a parameter, or of a key in a dict, of that name."""
    if not isinstance(name, str):
        return False
    if name in task.redact:
        return True
    named = conf().REDACT
    if named is not None:
        return name in named
    # What is called just "key" says what makes calls the same work, and opens nothing.
    return name != "key" and bool(SafeExceptionReporterFilter.hidden_settings.search(name))


def shown(task: TaskOptions, value: Any) -> Any:
    """Return a value, in which names may stand, as people may read it."""
    if isinstance(value, Mapping):
        return {key: masking.MASKED if hides(task, key) else shown(task, item) for key, item in value.items()}
    return [shown(task, item) for item in value] if isinstance(value, list | tuple) else value


def readable(task: TaskOptions, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], Any]:
    """Return a call's arguments as people may read them."""
    positional = shown(task, [{name: value} for name, value in zip(_names(task, args), args, strict=True)])
    return tuple(value for one in positional for value in one.values()), shown(task, kwargs)


def reprs(task: TaskOptions, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, str]:
    """Return what a message's headers say of its arguments, where an object is ``<Note 5>``."""
    said = readable(task, *references.parse((args, kwargs)))
    amqp: Any = task.app.amqp
    return {
        "argsrepr": saferepr(said[0], amqp.argsrepr_maxsize),
        "kwargsrepr": saferepr(said[1], amqp.kwargsrepr_maxsize),
    }


def arguments_of(operation: AbstractOperation) -> dict[str, str] | None:
    """Return an operation's `named_arguments` as short texts."""
    found = named_arguments(operation)
    return found and {name: saferepr(value, _SHOWN) for name, value in found.items()}


def named_arguments(operation: AbstractOperation) -> dict[str, Any] | None:
    """Return an operation's arguments, by name, as people may read them; None where its task is not registered here, so
    that nobody knows what is to be hidden. Raises `InvalidPayload` if they cannot be read any more."""
    if not operation.payload:  # a lock
        return {}
    task = task_of(operation)
    if task is None:
        return None
    args, kwargs = references.parse(codec.loads(operation.payload, task.app))
    said, named = readable(task, args, kwargs)
    names = _names(task, args)
    labels = [f"{name}[{names[:n].count(name)}]" if names.count(name) > 1 else name for n, name in enumerate(names)]
    return {**dict(zip(labels, said, strict=True)), **named}


def hidden(task: TaskOptions, args: Any, kwargs: Any) -> masking.Source:
    """Return the source of those among a call's arguments that nobody is to read."""
    return partial(_hidden, task, args, kwargs)


def hidden_of(task: TaskOptions | None, operation: AbstractOperation) -> masking.Source:
    """Return that of an operation's arguments; none where these cannot be read."""

    def source() -> Iterator[Any]:
        with contextlib.suppress(InvalidPayload):
            if task is not None and operation.payload:
                yield from _hidden(task, *references.parse(codec.loads(operation.payload, task.app)))

    return source


def _hidden(task: TaskOptions, args: Any, kwargs: Any) -> Iterator[Any]:
    if isinstance(args, list | tuple):
        for name, value in zip(_names(task, args), args, strict=True):
            yield from _within(task, {name: value})
    yield from _within(task, kwargs)


def _within(task: TaskOptions, value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            if hides(task, name):
                yield item.pk if isinstance(item, Reference) else item
            else:
                yield from _within(task, item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _within(task, item)


def _names(task: TaskOptions, args: Sequence[Any]) -> list[str]:
    """Return the name of the parameter that takes each of the positional arguments."""
    parameters = signature_of(task).parameters.values()
    names = [one.name for one in parameters if one.kind not in (one.KEYWORD_ONLY, one.VAR_KEYWORD)] or [""]
    return [names[min(position, len(names) - 1)] for position in range(len(args))]
