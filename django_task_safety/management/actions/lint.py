"""``task_safety lint``: read the bodies of safe tasks, and say what goes wrong in production."""

import argparse
from pathlib import Path
from typing import Any

from django_task_safety.checks.project import Project
from django_task_safety.conf import conf
from django_task_safety.errors import InvalidArguments
from django_task_safety.linting.report import Finding, lint
from django_task_safety.linting.targets import files_of, files_of_tasks
from django_task_safety.management.console import Console, SomethingIsWrong, WrongCall, plural

HELP = "read the source of safe tasks, and say what goes wrong in production"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's own options."""
    text = "a file, a folder or a module, as in orders.tasks; default: all tasks that are imported"
    parser.add_argument("target", nargs="?", metavar="PATH | module", help=text)


def run(console: Console, *, target: str | None, **options: Any) -> None:
    """Read, and say what was found. Raises `SomethingIsWrong` where that is something, `WrongCall` without a file."""
    files = _files(console, target)
    said = lint(files)
    found = [one for one in said if one.certain]
    lines = [_line(one) for one in found] or [f"Nothing was found in {plural(files, 'file')}."]
    console.answer([_data(one) for one in found], lines)
    for one in said:
        if not one.certain:
            console.notice(f"{_place(one)} cannot tell: {one.message}")
    if found:
        raise SomethingIsWrong(f"Found {plural(found, 'problem')}.")


def _files(console: Console, target: str | None) -> list[Path]:
    if target:
        try:
            return files_of(target)
        except InvalidArguments as exc:
            raise WrongCall(str(exc)) from exc
    project = Project(conf())
    if project.not_imported:
        console.notice(f"Not all modules with tasks can be imported: {project.not_imported}")
    files, lost = files_of_tasks(project.safe_tasks)
    if lost:
        console.notice(f"Cannot tell of {', '.join(lost)}: the source is not there.")
    return files


def _data(one: Finding) -> dict[str, Any]:
    return {"file": one.file, "line": one.line, "id": one.id, "message": one.message}


def _place(one: Finding) -> str:
    return f"{one.file}:{one.line}: {one.id}"


def _line(one: Finding) -> str:
    return f"{_place(one)} {one.message}"
