"""``task_safety prune``: delete the operations that ended long ago."""

import argparse
from typing import Any

from django_task_safety.ledger import retention
from django_task_safety.management import arguments
from django_task_safety.management.console import Console, plural

HELP = "delete ended operations past their retention"

DAY = 86_400


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's own options."""
    add = parser.add_argument
    add(
        "--older-than",
        type=arguments.days,
        metavar="DAYS",
        help="those that ended so long ago, whatever their retention; their keys are forgotten",
    )
    add("--batch", type=arguments.count, default=500, metavar="N", help="rows per transaction; default: 500")
    add("--dry-run", action="store_true", help="only count them")


def run(console: Console, *, older_than: float | None, batch: int, dry_run: bool, **options: Any) -> None:
    """Delete them, batch by batch."""
    seconds = None if older_than is None else older_than * DAY
    if dry_run:
        number = retention.past(seconds).count()
        console.answer({"pruned": 0, "due": number}, [f"due: {plural(number, 'operation')}"])
        return
    pruned = sum(console.progress(retention.prune(seconds, batch), int))
    console.answer({"pruned": pruned}, [f"deleted {plural(pruned, 'operation')}"])
