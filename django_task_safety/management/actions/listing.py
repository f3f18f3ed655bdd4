"""``task_safety list``: operations, newest first, page by page."""

import argparse
import uuid
from typing import Any

from django_task_safety.fleet import reasons
from django_task_safety.ledger.keyset import Cursor
from django_task_safety.management import arguments, rows
from django_task_safety.management.console import Console
from django_task_safety.models import Operation

HELP = "show operations, newest first"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's own options."""
    arguments.add_filters(parser)
    parser.add_argument("--limit", type=arguments.count, default=50, metavar="N", help="how many; default: 50")
    parser.add_argument(
        "--after", type=arguments.operation_id, metavar="ID", help="go on after this one, the last of the page before"
    )


def run(console: Console, *, limit: int, after: uuid.UUID | None, **options: Any) -> None:
    """Show a page."""
    place = None if after is None else Cursor.of(arguments.operation_of(after))
    found = Operation.objects.defer(*rows.LONG)
    page = arguments.filters_of(**options).page(found, limit, place)
    reasons.share_fleet(page.operations)
    lines = rows.listed(page.operations) if page.operations else ["No operation."]
    following = None if page.after is None else page.after.pk
    if following is not None:
        why = "Only the newest were looked at; there may be more" if page.cut_short else "There are more"
        lines.append(f"{why}: --after {following}")
    console.answer({"operations": [rows.brief(one) for one in page.operations], "after": following}, lines)
