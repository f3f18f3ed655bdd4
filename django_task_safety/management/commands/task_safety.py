"""``manage.py task_safety sweep``: what the keeper does in workers, once, from cron."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from celery import current_app
from django.core.management.base import BaseCommand

from django_task_safety import sweeper


class Command(BaseCommand):
    """The package's command line."""

    help = "Maintain the operations: publish lost ones again, take over from dead workers, end, prune."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("sweep", help="do once what the keeper of a worker does all the time")

    def handle(self, *args: Any, **options: Any) -> None:
        # Tasks must be registered: to be published, and to be compensated.
        current_app.loader.import_default_modules()
        swept = sweeper.sweep()
        self.stdout.write(
            f"published {swept.published}, queued again {swept.requeued}, failed {swept.failed}, "
            f"cancelled {swept.cancelled}, pruned {swept.pruned}"
        )
