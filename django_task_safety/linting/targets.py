"""Which files are looked at."""

import importlib.util
import inspect
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from django_task_safety.errors import InvalidArguments
from django_task_safety.options import TaskOptions

_INSTALLED = {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib")}


def files_of(target: str) -> list[Path]:
    """Return the Python files of a path or of a module, those in its folders too.

    Raises:
        InvalidArguments: If there is neither.
    """
    path = Path(target)
    if not path.exists():
        path = _of_module(target)
    if path.is_dir():
        hidden = (
            one for one in path.rglob("*.py") if not any(part.startswith(".") for part in one.relative_to(path).parts)
        )
        return sorted(hidden)
    return [path]


def _of_module(name: str) -> Path:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    places = list(spec.submodule_search_locations or ([spec.origin] if spec.origin else [])) if spec else []
    if not places or not Path(places[0]).exists():
        raise InvalidArguments(
            f"There is neither a file nor a module {name!r}. Give a path, or a dotted name as in orders.tasks."
        )
    return Path(places[0])


def files_of_tasks(tasks: Iterable[TaskOptions]) -> tuple[list[Path], list[str]]:
    """Return the project's files in which the functions of tasks stand, and the names of those tasks without one."""
    found: set[Path] = set()
    lost: list[str] = []
    for task in tasks:
        path = _file_of(task)
        if path is None:
            lost.append(task.name)
        elif not any(place in path.parents for place in _INSTALLED):
            found.add(path)
    return sorted(found), lost


def _file_of(task: TaskOptions) -> Path | None:
    code = getattr(inspect.unwrap(task.body), "__code__", None)
    path = Path(code.co_filename) if code is not None else None
    return path.resolve() if path is not None and path.is_file() else None
