"""Find a safe task by its registered name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery import current_app

if TYPE_CHECKING:
    from django_task_safety.tasks import SafeTask


def safe_task_named(name: str) -> SafeTask | None:
    """Return the safe task registered under ``name`` in this process, or None."""
    from django_task_safety.tasks import SafeTask

    task = current_app.tasks.get(name)
    return task if isinstance(task, SafeTask) else None
