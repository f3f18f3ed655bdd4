"""``task_safety doctor``: look at everything that has to work together, and say what does not."""

import argparse
import dataclasses
from collections.abc import Iterator
from typing import Any

from django.core import checks

from django_task_safety.conf import conf
from django_task_safety.fleet.this_side import this_side
from django_task_safety.fleet.workers import Fleet
from django_task_safety.management import arguments
from django_task_safety.management.console import Console, SomethingIsWrong, plural
from django_task_safety.management.doctor import broker, database, fleet, result_backend
from django_task_safety.management.doctor.findings import Condition, Finding, bad, good, said, unknown
from django_task_safety.overview import overview
from django_task_safety.registry import apps, import_tasks

HELP = "look at what runs: database, broker, clocks, workers, queues, sweeps, results, stuck work"

_SIGNS = {Condition.GOOD: "✓", Condition.BAD: "✗", Condition.UNKNOWN: "?"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's own options."""
    add = parser.add_argument
    add("--timeout", type=arguments.seconds, default=5.0, metavar="TIME", help="for each that may hang; default: 5 s")
    add("--require-version", metavar="VERSION", help="of django-task-safety, on every worker")


def run(console: Console, *, timeout: float, require_version: str | None, **options: Any) -> None:
    """Look, and say what was found. Raises `SomethingIsWrong` unless all of it is good."""
    findings = list(_findings(float(timeout), require_version))
    wrong = [one for one in findings if one.condition != Condition.GOOD]
    data = {"good": not wrong, "findings": [dataclasses.asdict(one) for one in findings]}
    console.answer(data, [line for one in findings for line in _lines(one)])
    if wrong:
        number = {condition: sum(one.condition == condition for one in wrong) for condition in Condition}
        untold = f", and {number[Condition.UNKNOWN]} that cannot be told" if number[Condition.UNKNOWN] else ""
        raise SomethingIsWrong(f"Found {plural(number[Condition.BAD], 'problem')}{untold}.")


def _lines(one: Finding) -> Iterator[str]:
    cannot = "cannot tell: " if one.condition == Condition.UNKNOWN else ""
    yield f"{_SIGNS[one.condition]} {one.about + ':':20}{cannot}{one.text}"
    if one.hint:
        yield f"{'':22}{one.hint}"


def _findings(timeout: float, required: str | None) -> Iterator[Finding]:
    yield from _tasks()
    there = list(database.probe(timeout))
    yield from there
    for app in apps():
        yield from broker.probe(app, timeout)
        yield result_backend.probe(app, timeout)
    if all(one.condition == Condition.GOOD for one in there):
        yield from _of_the_table(required)
        yield from _checks()
    else:
        for about in ("clocks", "workers", "queues", "sweeps", "stuck work"):
            yield unknown(about, "the database does not say")


def _tasks() -> Iterator[Finding]:
    try:
        import_tasks()
    except Exception as exc:  # whatever a module may raise
        yield bad("tasks", f"not all modules with tasks can be imported: {said(exc)}", "Workers import them as well.")


def _of_the_table(required: str | None) -> Iterator[Finding]:
    seen, here = overview(), this_side()
    yield database.clocks()
    yield from fleet.clocks(Fleet.read())
    yield from fleet.workers(seen, here)
    yield fleet.settings(seen, here.settings)
    if required:
        yield fleet.versions(seen, required)
    yield from fleet.queues(seen)
    yield fleet.sweeps(seen)
    yield from fleet.stuck(seen)


def _checks() -> Iterator[Finding]:
    """Run the system checks of the package."""
    found = checks.run_checks(tags=["task_safety"], databases=[conf().DATABASE])
    open_ = [one for one in found if not one.is_silenced()]
    if not open_:
        yield good("system checks", "no complaint")
    for one in open_:
        # What a check says at INFO is that it cannot tell.
        condition = bad if one.level >= checks.WARNING else unknown
        yield condition("system checks", f"{one.id}: {' '.join(str(one.msg).split())}", str(one.hint or ""))
