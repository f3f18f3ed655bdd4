"""Whether all of the project's tasks can be looked at."""

from collections.abc import Iterator

from django_task_safety.checks.findings import Finding, about, warning
from django_task_safety.checks.project import Project


@about("task_safety.W003")
def check_imports(project: Project) -> Iterator[Finding]:
    """The modules with the project's tasks can be imported."""
    if project.not_imported:
        yield warning(
            f"Not all modules with tasks can be imported ({project.not_imported}), so not every task was looked at.",
            "Mend the module, or take it out of the worker's reach: a worker imports it when it starts.",
            "task_safety.W003",
        )
