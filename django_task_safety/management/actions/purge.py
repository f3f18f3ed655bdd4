"""``task_safety purge``: delete for good what was soft-deleted long ago."""

import argparse
from typing import Any

from django_task_safety.management import arguments
from django_task_safety.management.console import Console, SomethingIsWrong, WrongCall
from django_task_safety.models import SoftDeleteModel
from django_task_safety.soft_delete import purge as purging
from django_task_safety.values.identity import model_named

HELP = "delete for good what was soft-deleted long ago"

DAY = 86_400


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's own options."""
    add = parser.add_argument
    add("--older-than", type=arguments.days, default=30.0, metavar="DAYS", help="default: 30")
    add("--model", action="append", metavar="LABEL", help="only this one; may be repeated")
    add("--batch", type=arguments.count, default=500, metavar="N", help="rows per transaction; default: 500")
    add("--dry-run", action="store_true", help="only count them")


def run(
    console: Console, *, older_than: float, model: list[str] | None, batch: int, dry_run: bool, **options: Any
) -> None:
    """Delete them; what is protected stays, and is said."""
    chosen = None if model is None else [_soft_model(label) for label in arguments.as_list(model)]
    purged = purging.purge(older_than * DAY, chosen, batch, dry_run, lambda batches: console.progress(batches, len))
    for obj, why in purged.skipped:
        console.notice(f"skipped {obj._meta.label} {obj.pk}: {why}")
    counts = dict(sorted(purged.deleted.items()))
    done = "due, protected ones included:" if dry_run else "deleted"
    skipped = [{"model": obj._meta.label, "pk": str(obj.pk), "why": why} for obj, why in purged.skipped]
    said = ", ".join(f"{label} {count}" for label, count in counts.items())
    console.answer({"deleted": counts, "skipped": skipped, "dry_run": dry_run}, [f"{done} {said or 'nothing'}"])
    if skipped:
        raise SomethingIsWrong(f"Objects skipped: {len(skipped)}; why, is said above.")


def _soft_model(label: str) -> type[SoftDeleteModel]:
    try:
        model = model_named(label)
    except LookupError as exc:
        raise WrongCall(f"--model {label}: {exc.args[0]}") from exc
    if not issubclass(model, SoftDeleteModel):
        known = ", ".join(sorted(one._meta.label for one in purging.soft_models()))
        raise WrongCall(f"--model {label}: it is not soft-deletable. Those that are: {known or 'none'}.")
    return model
