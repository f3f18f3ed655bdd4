"""Checks of TASK_SAFETY: valid values that do not fit each other, the tasks, or the time zone."""

import re
import zoneinfo
from collections.abc import Iterator
from datetime import datetime

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.utils.module_loading import import_string

from django_task_safety.checks.findings import CannotTell, Finding, about, error, named, warning
from django_task_safety.checks.project import Project
from django_task_safety.conf import seconds
from django_task_safety.producer.redaction import hides
from django_task_safety.producer.signature import signature_of

#: Parameters of these names hold a secret, whatever else is in Django's list.
_SECRET = re.compile(r"passw(or)?d|passphrase|secret|(^|_)token$|api_?key|private_?key|credential", re.IGNORECASE)


@about("task_safety.E012")
def check_permission(project: Project) -> Iterator[Finding]:
    """The project's own rule of who may see an operation can be asked."""
    path = project.conf.STATUS_PERMISSION
    try:
        rule = None if path is None else import_string(path)
    except ImportError as exc:
        problem = str(exc)
    else:
        problem = "" if path is None or callable(rule) else f"{rule!r} cannot be called"
        problem = "it is an async function" if iscoroutinefunction(rule) else problem
    if problem:
        yield error(
            f"TASK_SAFETY['STATUS_PERMISSION'] ({path}) opens nothing: {problem}.",
            "Let it be the dotted path of a function of a request and an operation that answers True or False.",
            "task_safety.E012",
        )


@about("task_safety.W014")
def check_sweeps(project: Project) -> Iterator[Finding]:
    """Sweeps come before what they are to make good has waited for long."""
    conf = project.conf
    soonest = min(conf.LEASE, conf.REPUBLISH_AFTER)
    if conf.KEEPER and soonest < conf.SWEEP_INTERVAL:
        yield warning(
            f"SWEEP_INTERVAL ({conf.SWEEP_INTERVAL:g} s) is longer than LEASE ({conf.LEASE:g} s) or REPUBLISH_AFTER "
            f"({conf.REPUBLISH_AFTER:g} s): what was lost waits for a sweep, and those do not matter.",
            f"Let TASK_SAFETY['SWEEP_INTERVAL'] be at most {soonest:g}.",
            "task_safety.W014",
        )


@about("task_safety.W015")
def check_keeper(project: Project) -> Iterator[Finding]:
    """Somebody sweeps."""
    if not project.conf.KEEPER and project.safe_tasks:
        why = "with KEEPER off, whether something runs `manage.py task_safety sweep` every few seconds"
        yield CannotTell(("task_safety.W015",), why)


@about("task_safety.W016")
def check_redacted(project: Project) -> Iterator[Finding]:
    """A list of hidden parameters does not leave out those that Django's would hide."""
    if project.conf.REDACT is None:
        return
    shown = {
        f"{task.name}({name})"
        for task in project.safe_tasks
        for name in signature_of(task).parameters
        if _SECRET.search(name) and not hides(task, name)
    }
    if shown:
        yield warning(
            f"TASK_SAFETY['REDACT'] takes the place of Django's list, and leaves out {named(shown, 'parameter')}: "
            "people read the values in keys, logs and errors.",
            "Add the names to REDACT, or to the task's redact.",
            "task_safety.W016",
        )


@about("task_safety.W017")
def check_extended_results(project: Project) -> Iterator[Finding]:
    """What is hidden everywhere else does not stand in the result backend."""
    told = {
        task.name
        for app, task in project.safe_in_apps
        if app.conf.result_extended and app.conf.result_backend and not task.ignore_result
        for name in signature_of(task).parameters
        if hides(task, name)
    }
    if told:
        yield warning(
            f"{named(told)}: result_extended stores the arguments in the result backend as they are, those that are "
            "hidden elsewhere included.",
            "Leave result_extended off, or give the task ignore_result=True.",
            "task_safety.W017",
        )


@about("task_safety.W018")
def check_time_zone(project: Project) -> Iterator[Finding]:
    """No time of the operations exists twice a year."""
    vendor = project.database.vendor
    if settings.USE_TZ or vendor == "postgresql":
        return
    zone = zoneinfo.ZoneInfo(project.database.settings_dict["TIME_ZONE"] or settings.TIME_ZONE)
    if len({datetime(2026, month, 1, tzinfo=zone).utcoffset() for month in range(1, 13)}) > 1:
        yield warning(
            f"USE_TZ is off, and the clocks of {zone.key} are put back each year: in that hour a lease or a wait can "
            f"last an hour longer, since Django stores local times in {project.database.display_name}.",
            "Set USE_TZ = True.",
            "task_safety.W018",
        )


@about("task_safety.W019")
def check_retention(project: Project) -> Iterator[Finding]:
    """A success is remembered for as long as it must answer for its period."""
    for task in project.safe_tasks:
        kept = project.conf.RETENTION if task.retention is None else seconds(task.retention)
        if task.period is not None and kept is not None and kept < task.period.total_seconds():
            yield warning(
                f"Task {task.name} has a period of {task.period}, but its operations are kept for {kept:g} s: "
                "after that a second call runs in the same period.",
                "Give it a retention that is longer than its period.",
                "task_safety.W019",
            )
