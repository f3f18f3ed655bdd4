"""What was asked for, as a test expects it: the operations' table is looked at, so no fixture is needed."""

import reprlib
from collections.abc import Mapping
from typing import Any

from django.db import models

from django_task_safety.errors import InvalidArguments
from django_task_safety.ledger import table
from django_task_safety.models import Operation
from django_task_safety.options import TaskOptions
from django_task_safety.producer.signature import signature_for, signature_of
from django_task_safety.registry import task_of
from django_task_safety.values import codec, keys, references

#: So many of the others are shown where none is as expected.
_SHOWN = 10


def assert_enqueued(
    task: Any, *, subject: models.Model | None = None, key: Any = None, count: int = 1, **arguments: Any
) -> list[Operation]:
    """Assert that a task was called, whatever became of the operations since.

    Args:
        task: The safe task.
        subject: The object that they are about.
        key: What the task's ``key`` option picked of the arguments.
        count: How many there are.
        arguments: Those of the task's parameters that are compared; objects by identity. A parameter of the task's own
            that is called ``subject`` or ``key`` is one of them.

    Returns:
        The operations, oldest first.

    Raises:
        AssertionError: With what was called instead.
        InvalidArguments: For a task that is not safe, or a parameter that it does not have.
    """
    called, found = _matching(task, subject, key, arguments)
    if len(found) != count:
        wanted = _wanted(task, subject, key, arguments)
        raise AssertionError(f"expected {_times(count)} {wanted}, found {len(found)}.\n{_others(called)}")
    return found


def refute_enqueued(task: Any, *, subject: models.Model | None = None, key: Any = None, **arguments: Any) -> None:
    """Assert that a task was not called so; the parameters are those of `assert_enqueued`.

    Raises:
        AssertionError: With the calls that there are.
        InvalidArguments: For a task that is not safe, or a parameter that it does not have.
    """
    _, found = _matching(task, subject, key, arguments)
    if found:
        raise AssertionError(f"expected no {_wanted(task, subject, key, arguments)}.\n{_others(found)}")


def _matching(
    task: Any, subject: models.Model | None, key: Any, arguments: Mapping[str, Any]
) -> tuple[list[Operation], list[Operation]]:
    """Return all operations of the task, and those that are as expected."""
    if not isinstance(task, TaskOptions):
        raise InvalidArguments(f"{task!r} is no safe task: nothing is known of its calls.")
    parameters = signature_of(task).parameters
    if "subject" in parameters and subject is not None:
        arguments, subject = {**arguments, "subject": subject}, None
    if "key" in parameters and key is not None:
        arguments, key = {**arguments, "key": key}, None
    if unknown := [name for name in arguments if name not in parameters]:
        raise InvalidArguments(f"{task.name} has no parameter {', '.join(unknown)}; it has {', '.join(parameters)}.")
    called = list(Operation.objects.filter(task=task.name).order_by("created_at", "id"))
    about = Operation.objects.filter(task=task.name)
    if subject is not None:
        about = about.for_object(subject)
    if key is not None:
        about = about.filter(key=keys.readable(_as_sent(key)))
    chosen = set(about.values_list("pk", flat=True))
    wanted = {name: _text(value) for name, value in arguments.items()}
    return called, [one for one in called if one.pk in chosen and wanted.items() <= _texts(one).items()]


def arguments_of(operation: Operation) -> dict[str, Any]:
    """Return an operation's arguments by name, defaults applied, with references for objects."""
    task = task_of(operation)
    if task is None:
        return {}
    args, kwargs = references.parse(codec.loads(operation.payload, task.app))
    return keys.bind(signature_for(task, args, kwargs), args, kwargs)


def _texts(operation: Operation) -> dict[str, str]:
    return {name: _text(value) for name, value in arguments_of(operation).items()}


def _text(value: Any) -> str:
    """Return what two equal arguments have in common: they may have been serialised since."""
    return repr(keys.canonical(_as_sent(value)))


def _as_sent(value: Any) -> Any:
    return references.parse(codec.loads(codec.dumps(references.dump(value), "json")))


def _wanted(task: TaskOptions, subject: models.Model | None, key: Any, arguments: Mapping[str, Any]) -> str:
    said = [f"{name}={value!r}" for name, value in arguments.items()]
    about = [f" about {subject!r}"] if subject is not None else []
    about += [f" with the key {key!r}"] if key is not None else []
    return f"{task.name}({', '.join(said) or '…'}){''.join(about)}"


def _times(count: int) -> str:
    return "one" if count == 1 else str(count)


def _others(called: list[Operation]) -> str:
    if not called:
        db: Any = table.connection()
        waiting = len(db.run_on_commit) if db.in_atomic_block else 0
        hint = f" {waiting} hooks of on_commit() wait in this test's transaction: run() or drain() calls them."
        return f"It was not called at all.{hint if waiting else ''}"
    lines = [f"  {_line(operation)}" for operation in called[:_SHOWN]]
    more = [f"  … and {len(called) - _SHOWN} more"] if len(called) > _SHOWN else []
    return "\n".join(["There are:", *lines, *more])


def _line(operation: Operation) -> str:
    said = ", ".join(f"{name}={reprlib.repr(value)}" for name, value in arguments_of(operation).items())
    key = f", key {operation.key}" if operation.key else ""
    return f"{operation.task}({said}): {operation.state}{key}"
