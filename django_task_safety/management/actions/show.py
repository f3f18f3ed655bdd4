"""``task_safety show ID``: all that is known of one operation."""

import argparse
import uuid
from typing import Any

from django_task_safety.management import arguments, rows
from django_task_safety.management.console import Console
from django_task_safety.registry import import_tasks

HELP = "show all of one operation"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's own options."""
    parser.add_argument("id", type=arguments.operation_id, metavar="ID")


def run(console: Console, *, id: uuid.UUID, **options: Any) -> None:
    """Show it."""
    operation = arguments.operation_of(id)
    import_tasks()  # they say which arguments nobody is to read
    console.answer(rows.full(operation), rows.described(operation))
