"""The safe tasks that this process knows, of all its Celery apps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from celery import Celery, _state, current_app
from celery.utils.functional import maybe_list

from django_task_safety.options import TaskOptions
from django_task_safety.values import codec

if TYPE_CHECKING:
    from django_task_safety.record import AbstractOperation

#: The option in which a row keeps whose task it is, where more than one app has a task of the name.
APP = "app"


@dataclasses.dataclass(frozen=True, slots=True)
class Stacked:
    """The options of a decorator that stands above Django's own ``@task``."""

    options: dict[str, Any]
    idempotent: bool


#: By the path of Django's task, which its safe task has for a name.
stacked: dict[str, Stacked] = {}
#: Those who make tasks when these are first looked for.
_makers: list[Callable[[], None]] = []
#: The apps in which a safe task is bound.
_bound: WeakSet[Celery] = WeakSet()


def note_bound(app: Celery) -> None:
    """Note that a safe task is bound to that app."""
    _bound.add(app)


def make_later(make: Callable[[], None]) -> None:
    """Have ``make`` called when all tasks are to be there: a worker starts, or somebody imports them as one does."""
    if make not in _makers:
        _makers.append(make)


def make_late_tasks() -> None:
    """Make the tasks that nobody needed before."""
    for make in _makers:
        make()


def is_djangos_task(function: Any) -> bool:
    """Return whether it is what ``django.tasks.task`` makes of a function; older Djangos do not have that class."""
    return callable(getattr(function, "func", None)) and hasattr(function, "module_path")


def apps() -> list[Celery]:
    """Return the Celery apps of this process that have safe tasks, as far as these are bound; the current one first."""
    current: Any = current_app._get_current_object()  # type: ignore[attr-defined]
    others = (app for app in all_apps() if app in _bound and app is not current)
    return [current, *sorted(others, key=lambda app: str(app.main))]


def all_apps() -> list[Celery]:
    """Return all Celery apps of this process."""
    return list(_state._get_active_apps())  # type: ignore[attr-defined]  # Celery has no public name for them


def safe_task_named(name: str) -> TaskOptions | None:
    """Return the safe task registered under ``name`` in an app of this process, or None."""
    return next((task for app in apps() if isinstance(task := app.tasks.get(name), TaskOptions)), None)


def task_of(operation: AbstractOperation) -> TaskOptions | None:
    """Return the safe task of an operation that was read with its options, in the app by which it was asked for.

    Raises:
        InvalidPayload: If the options cannot be read any more.
    """
    options = operation.options
    app = codec.loads(options).get(APP) if f'"{APP}"' in options or options.startswith("!") else None
    if app is None:
        return safe_task_named(operation.task)
    found = (one.tasks.get(operation.task) for one in apps() if one.main == app)
    return next((task for task in found if isinstance(task, TaskOptions)), None)


def app_of(task: TaskOptions) -> str | None:
    """Return the name of a task's app where there is another, which may have a task of the same name: those that are
    shared, as tasks are unless they say otherwise, are in all apps."""
    return task.app.main if len(all_apps()) > 1 else None


def safe_task_names() -> list[str]:
    """Return the names of the safe tasks that are registered in this process."""
    return [task.name for task in safe_tasks()]


def safe_tasks() -> list[TaskOptions]:
    """Return the safe tasks that are registered in this process, of each name the first, ordered by it."""
    found = {name: task for app in reversed(apps()) for name, task in app.tasks.items()}
    return [task for _, task in sorted(found.items()) if isinstance(task, TaskOptions)]


def import_tasks() -> None:
    """Import the project's tasks as a worker does, and bind those of all apps.

    Not by the loader's `import_default_modules`: Celery's fixup for Django answers that by setting Django up once more,
    logging and all, and by running all system checks.

    Raises:
        Exception: Whatever a module raises.
    """
    current_app.autodiscover_tasks(force=True)
    for app in all_apps():
        for module in (*maybe_list(app.conf.imports), *maybe_list(app.conf.include)):
            app.loader.import_task_module(module)
        if app.autofinalize:  # type: ignore[attr-defined]
            app.finalize(auto=True)
    make_late_tasks()
