"""``enqueue`` and ``enqueue_many`` go through ``apply_async``, whose overriding or wrapping is part of the call."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django_task_safety.errors import InvalidOption
from django_task_safety.options import TaskOptions

_gathering: ContextVar[tuple[TaskOptions, list[Any]] | None] = ContextVar("django_task_safety_gathering", default=None)


@contextmanager
def gathering(task: TaskOptions) -> Iterator[list[Any]]:
    """During the block, ``apply_async`` of this task makes calls, for the list, and enqueues nothing."""
    calls: list[Any] = []
    token = _gathering.set((task, calls))
    try:
        yield calls
    finally:
        _gathering.reset(token)


def gathered(task: TaskOptions) -> list[Any] | None:
    """Return the list for the task's calls; None where they are to be enqueued."""
    found = _gathering.get()
    return found[1] if found is not None and found[0] is task else None


def calls_of(task: Any, asked: Iterable[tuple[Sequence[Any], Mapping[str, Any]]]) -> list[Any]:
    """Make calls by ``apply_async``, whatever was put around or in front of it."""
    made: list[Any] = []
    for args, kwargs in asked:
        with gathering(task) as calls:
            task.apply_async(args, kwargs)
        if len(calls) != 1:
            raise InvalidOption(
                f"{task.name}: apply_async(), which enqueue() goes through, made {len(calls)} calls. An override "
                "calls super().apply_async() once."
            )
        made += calls
    return made
