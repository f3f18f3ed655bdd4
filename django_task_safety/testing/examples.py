"""The examples of calls with which a project's safe tasks are tried."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from django_task_safety import registry
from django_task_safety.checks.project import Project
from django_task_safety.conf import conf
from django_task_safety.errors import InvalidArguments
from django_task_safety.options import Example, TaskOptions


def example_of(task: Any) -> Callable[[Example], Example]:
    """Return a decorator that does for one of Django's tasks what ``@task.example`` does for a safe task.

    Raises:
        InvalidArguments: If it is none of Django's, or its backend is not ours.
    """
    if not (registry.is_djangos_task(task) and getattr(task.get_backend(), "makes_safe_tasks", False)):
        raise InvalidArguments(
            f"{task!r} is none of Django's tasks with SafeTaskBackend. A safe task has a decorator of its own, "
            "@task.example."
        )

    def register(make: Example) -> Example:
        registry.make_later(partial(_register, task.module_path, make))
        return make

    return register


def _register(name: str, make: Example) -> None:
    if safe := registry.safe_task_named(name):  # else it cannot be made, which the checks say
        safe.examples[:] = [make]


def call_of(task: TaskOptions) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Make what the task's example needs, and return the arguments and the keyword arguments of the call.

    Raises:
        InvalidArguments: If the task has no example, or one that returns something else.
    """
    if not task.examples:
        name = task.name.rpartition(".")[2]
        raise InvalidArguments(
            f"{task.name} has no example of a call. Register one: @{name}.example, or @example_of({name}) for one of "
            "Django's tasks, above a function that makes what the task needs, and returns (args, kwargs)."
        )
    made = task.examples[0]()
    if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[1], Mapping) and _is_sequence(made[0])):
        raise InvalidArguments(
            f"The example of {task.name} returned {made!r} instead of (args, kwargs), as ((7,), {{}})."
        )
    args, kwargs = made
    return args, kwargs


class Examples:
    """The project's safe tasks: those with an example, and the names of those without."""

    def __init__(self) -> None:
        project = Project(conf())
        self.tasks = [task for task in project.safe_tasks if task.examples]
        self.missing = [task.name for task in project.safe_tasks if not task.examples]
        #: Why not all modules with tasks could be imported, "" if they could.
        self.not_imported = project.not_imported


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
