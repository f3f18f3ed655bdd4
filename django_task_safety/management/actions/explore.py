"""``task_safety explore``: kill a safe task at each of its points, on a database that is made for it."""

import argparse
import inspect
import json
import unittest
from collections.abc import Mapping, Sequence
from typing import Any

from django_task_safety.checks.project import Project
from django_task_safety.conf import conf
from django_task_safety.errors import did_you_mean
from django_task_safety.management.console import Console, SomethingIsWrong, WrongCall
from django_task_safety.options import TaskOptions
from django_task_safety.testing import CleanRunFailed, CrashReport, NotCrashSafe, assert_crash_safe, empty_databases
from django_task_safety.testing.examples import call_of

HELP = "kill a safe task at each of its points, on an empty database that is made for it, and say where that does harm"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's own options."""
    parser.add_argument("task", metavar="TASK", help="its name, as in orders.tasks.charge_order")
    text = "JSON, or else text; default: those of the task's example, which also makes what the task needs"
    parser.add_argument("arguments", nargs="*", metavar="ARGUMENT", help=text)


def run(console: Console, *, task: str, arguments: list[Any], **options: Any) -> None:
    """Try. Raises `SomethingIsWrong` where a death does harm, or the task fails anyway; `WrongCall` for no task."""
    found = _task(console, task)
    given = [_value(text) for text in arguments]
    _refuse_missing(found, given)
    try:
        with empty_databases.in_place():
            args, kwargs = _call(found, given)
            report = _report(found, args, kwargs)
    except SystemExit as exc:
        raise SomethingIsWrong(
            "No database could be made: the project's user needs the right to, as for tests."
        ) from exc
    console.answer(_data(report), str(report).splitlines())
    if report.unsafe:
        raise SomethingIsWrong(f"{found.name} must not die at {report.unsafe[0].point}.")


def _task(console: Console, name: str) -> TaskOptions:
    project = Project(conf())
    tasks = {task.name: task for task in project.safe_tasks}
    if name not in tasks:
        why = f" Not all modules with tasks can be imported: {project.not_imported}" if project.not_imported else ""
        raise WrongCall(f"No safe task is called {name!r}.{did_you_mean(name, tasks)}{why}")
    return tasks[name]


def _value(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return text


def _refuse_missing(task: TaskOptions, given: list[Any]) -> None:
    if given or task.examples:
        return
    try:
        inspect.signature(task.run).bind()
    except TypeError as exc:
        raise WrongCall(f"{task.name}: {exc}. Give its arguments, or register @{_short(task)}.example.") from exc


def _call(task: TaskOptions, given: list[Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
    args, kwargs = call_of(task) if task.examples else ((), {})
    return (given, {}) if given else (args, kwargs)


def _report(task: TaskOptions, args: Sequence[Any], kwargs: Mapping[str, Any]) -> CrashReport:
    try:
        return assert_crash_safe(task, *args, **kwargs)
    except NotCrashSafe as exc:
        return exc.report
    except CleanRunFailed as exc:
        empty = f" The database is empty: let @{_short(task)}.example make what the task needs."
        raise SomethingIsWrong(f"{exc}{'' if task.examples else empty}") from exc
    except unittest.SkipTest as exc:
        raise SomethingIsWrong(str(exc)) from exc


def _short(task: TaskOptions) -> str:
    return str(task.name).rpartition(".")[2]


def _data(report: CrashReport) -> dict[str, Any]:
    return {
        "task": report.name,
        "points": len(report.points),
        "unsafe": [
            {"line": one.point.line, "point": one.point.name, "differences": one.differences} for one in report.unsafe
        ],
        "masked": report.masked,
    }
