"""``task_safety retry``: queue failed and cancelled operations again."""

import argparse
from typing import Any

from django_task_safety.errors import TaskSafetyError
from django_task_safety.management import chosen
from django_task_safety.management.console import Console, SomethingIsWrong, plural
from django_task_safety.models import Operation
from django_task_safety.registry import import_tasks

HELP = "queue failed and cancelled operations again: by id, or all that fulfil something"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's own options."""
    chosen.add_arguments(parser)


def run(console: Console, *, by: str | None, **options: Any) -> None:
    """Queue them again, one by one: what is refused holds up no other."""
    import_tasks()  # they are published from here
    ended = Operation.objects.filter(state__in=(Operation.State.FAILED, Operation.State.CANCELLED))
    retried, skipped = 0, list[dict[str, Any]]()
    for batch in chosen.batches(console, ended, "Retry", **options):
        for operation in batch:
            why = _retry(operation, by)
            retried += not why
            skipped += [{"id": operation.pk, "why": why}] if why else []
    lines = [f"Queued {plural(retried, 'operation')} again."]
    lines += [f"skipped {one['id']}: {one['why']}" for one in skipped]
    console.answer({"retried": retried, "skipped": skipped}, lines)
    if skipped:
        raise SomethingIsWrong(f"{plural(skipped, 'operation')} skipped; why, is said above.")


def _retry(operation: Operation, by: str | None) -> str:
    """Retry one operation, and return why it could not be."""
    try:
        done = operation.retry(by)
    except TaskSafetyError as exc:
        return str(exc)
    return "" if done else f"It is {operation.state}: only what failed or was cancelled is tried again."
