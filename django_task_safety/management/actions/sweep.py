"""``task_safety sweep``: do once what the keeper of a worker does all the time."""

import argparse
import dataclasses
from typing import Any

from django_task_safety.management.console import Console
from django_task_safety.registry import import_tasks
from django_task_safety.worker import presence, sweeper

HELP = "do once what the keeper of a worker does all the time"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's own options: none."""


def run(console: Console, **options: Any) -> None:
    """Sweep."""
    # Tasks must be registered: to be published, and to be compensated.
    import_tasks()
    swept = sweeper.sweep()
    # For those who ask whether anybody sweeps, where no worker does.
    presence.note_sweep()
    line = (
        f"published {swept.published}, queued again {swept.requeued}, failed {swept.failed}, "
        f"cancelled {swept.cancelled}, notified {swept.notified}, pruned {swept.pruned}, set back {swept.set_back}"
    )
    console.answer(dataclasses.asdict(swept), [line])
