"""The linter's findings as system checks, where a project is checked for deployment."""

from collections.abc import Iterator
from typing import Any

from django.core import checks

from django_task_safety.checks.findings import CannotTell, Finding, about, answers, warning
from django_task_safety.checks.project import Project
from django_task_safety.conf import conf
from django_task_safety.linting.report import lint
from django_task_safety.linting.rules import RULES
from django_task_safety.linting.targets import files_of_tasks


def register() -> None:
    """Register the check; from `AppConfig.ready`."""
    checks.register(check_sources, "task_safety", deploy=True)


def check_sources(**kwargs: Any) -> list[checks.CheckMessage]:
    """What the source of the project's safe tasks says."""
    return answers((_check,), Project(conf()))


@about(*(f"task_safety.{name}" for name in RULES))
def _check(project: Project) -> Iterator[Finding]:
    files, lost = files_of_tasks(project.safe_tasks)
    for one in lint(files):
        number, place = f"task_safety.{one.id}", f"{one.file}:{one.line}"
        if one.certain:
            hint = f"Where it is right, say why in that line: # task-safety: ok={one.id} reason"
            yield warning(one.message, hint, number, obj=place)
        else:
            yield CannotTell((number,), place)
    if lost:
        yield CannotTell(tuple(f"task_safety.{name}" for name in RULES), f"{', '.join(lost)}: no source")
