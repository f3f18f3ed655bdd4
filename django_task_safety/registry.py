"""The safe tasks that this process knows."""

from celery import current_app
from celery.utils.functional import maybe_list

from django_task_safety.options import TaskOptions


def safe_task_named(name: str) -> TaskOptions | None:
    """Return the safe task registered under ``name`` in this process, or None."""
    task = current_app.tasks.get(name)
    return task if isinstance(task, TaskOptions) else None


def safe_task_names() -> list[str]:
    """Return the names of the safe tasks that are registered in this process."""
    return [name for name, task in current_app.tasks.items() if isinstance(task, TaskOptions)]


def import_tasks() -> None:
    """Import the project's tasks as a worker does.

    Not by the loader's `import_default_modules`: Celery's fixup for Django answers that by setting Django up once more,
    logging and all, and by running all system checks.

    Raises:
        Exception: Whatever a module raises.
    """
    current_app.autodiscover_tasks(force=True)
    for module in (*maybe_list(current_app.conf.imports), *maybe_list(current_app.conf.include)):
        current_app.loader.import_task_module(module)
