"""``manage.py task_safety``: ``sweep`` maintains the operations once, ``purge`` deletes what was removed long ago."""

import argparse
from contextlib import suppress
from typing import Any

from celery.utils.functional import maybe_list
from django.apps import apps
from django.core.management.base import BaseCommand, CommandError

from django_task_safety.models import SoftDeleteModel
from django_task_safety.registry import import_tasks
from django_task_safety.soft_delete import purge as purging
from django_task_safety.worker import sweeper

DAY = 86_400


class Command(BaseCommand):
    """The package's command line."""

    help = "Maintain the operations and what was soft-deleted."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        own = [_djangos_options()]
        actions.add_parser("sweep", parents=own, help="do once what the keeper of a worker does all the time")
        purge = actions.add_parser("purge", parents=own, help="delete for good what was soft-deleted long ago")
        purge.add_argument("--older-than", type=_days, default=30.0, metavar="DAYS", help="default: 30")
        purge.add_argument("--model", action="append", metavar="LABEL", help="only this one; may be repeated")
        purge.add_argument("--batch", type=_count, default=500, metavar="N", help="rows per transaction; default: 500")
        purge.add_argument("--dry-run", action="store_true", help="only count them")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        if action == "sweep":
            self._sweep()
        else:
            self._purge(**options)

    def _sweep(self) -> None:
        # Tasks must be registered: to be published, and to be compensated.
        import_tasks()
        swept = sweeper.sweep()
        self.stdout.write(
            f"published {swept.published}, queued again {swept.requeued}, failed {swept.failed}, "
            f"cancelled {swept.cancelled}, notified {swept.notified}, pruned {swept.pruned}, "
            f"set back {swept.set_back}"
        )

    def _purge(self, older_than: float, model: list[str] | None, batch: int, dry_run: bool, **options: Any) -> None:
        chosen = None if model is None else [_soft_model(label) for label in maybe_list(model) or ()]
        purged = purging.purge(older_than * DAY, chosen, batch, dry_run)
        for obj, why in purged.skipped:
            self.stderr.write(f"skipped {obj._meta.label} {obj.pk}: {why}")
        counts = ", ".join(f"{label} {count}" for label, count in sorted(purged.deleted.items()))
        done = "due, protected ones included:" if dry_run else "deleted"
        self.stdout.write(f"{done} {counts or 'nothing'}")
        if purged.skipped:
            raise CommandError(f"Objects skipped: {len(purged.skipped)}; why, is said above.", returncode=1)


def _djangos_options() -> argparse.ArgumentParser:
    """Return what lets Django's own options follow the action as well, where they are not given before it."""
    parser = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("-v", "--verbosity", type=int, choices=range(4), help=argparse.SUPPRESS)
    for option in ("--settings", "--pythonpath"):
        parser.add_argument(option, help=argparse.SUPPRESS)
    for option in ("--traceback", "--no-color", "--force-color", "--skip-checks"):
        parser.add_argument(option, action="store_true", help=argparse.SUPPRESS)
    return parser


def _soft_model(label: str) -> type[SoftDeleteModel]:
    try:
        model = apps.get_model(label)
    except LookupError as exc:
        raise CommandError(f"--model {label}: {exc}") from exc
    except ValueError as exc:
        raise CommandError(f"--model {label}: a model is named as app_label.Model.") from exc
    if not issubclass(model, SoftDeleteModel):
        known = ", ".join(sorted(one._meta.label for one in purging.soft_models()))
        raise CommandError(f"--model {label}: it is not soft-deletable. Those that are: {known or 'none'}.")
    return model


def _days(text: str) -> float:
    with suppress(ValueError):
        if 0 <= float(text) < 1_000_000:
            return float(text)
    raise argparse.ArgumentTypeError(f"a number of days, 0 or more, not {text!r}")


def _count(text: str) -> int:
    with suppress(ValueError):
        if int(text) >= 1:
            return int(text)
    raise argparse.ArgumentTypeError(f"a whole number, 1 or more, not {text!r}")
