"""``task_safety cancel``: cancel some operations, or all that fulfil something."""

import argparse
from typing import Any

from django_task_safety.management import chosen
from django_task_safety.management.console import Console, plural
from django_task_safety.models import Operation

HELP = "cancel pending operations: by id, or all that fulfil something"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's own options."""
    chosen.add_arguments(parser)
    parser.add_argument("--reason", default="cancelled", metavar="TEXT", help="kept with each")


def run(console: Console, *, reason: str, by: str | None, **options: Any) -> None:
    """Cancel them, batch by batch, each in a transaction of its own."""
    pending = Operation.objects.pending()
    cancelled = seen = 0
    for batch in chosen.batches(console, pending, "Cancel", **options):
        seen += len(batch)
        cancelled += Operation.objects.filter(pk__in=[one.pk for one in batch]).cancel(reason, by)
    lines = [f"Cancelled {plural(cancelled, 'operation')}."]
    if seen > cancelled:
        lines.append(f"{plural(seen - cancelled, 'operation')} had ended before.")
    console.answer({"cancelled": cancelled, "ended_before": seen - cancelled}, lines)
