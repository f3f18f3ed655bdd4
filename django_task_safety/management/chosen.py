"""Which operations an action is about: those whose ids are given, or all that fulfil the filters."""

import argparse
import uuid
from collections.abc import Iterator
from typing import Any

from django_task_safety.ledger.filters import Filters
from django_task_safety.management import arguments
from django_task_safety.management.console import Console, WrongCall, plural
from django_task_safety.models import Operation

#: How many operations are handled at once.
BATCH = 500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options by which operations are chosen, and what is kept of who did something with them."""
    parser.add_argument("ids", type=arguments.operation_id, nargs="*", metavar="ID")
    arguments.add_filters(parser)
    parser.add_argument("--by", metavar="PK", help="the primary key of the user who does it; kept with each")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def batches(
    console: Console, among: Any, verb: str, *, ids: list[uuid.UUID], yes: bool, **options: Any
) -> Iterator[list[Operation]]:
    """Yield the chosen operations in batches: those with the ids, whatever their state, or all ``among`` which the
    filters choose, once somebody has agreed.

    Raises:
        WrongCall: If nothing is chosen, both ways are taken, nobody agrees, or there is no operation with an id.
    """
    filters = arguments.filters_of(**options)
    ids = arguments.as_list(ids)
    if bool(ids) == bool(filters):
        raise WrongCall(f"{verb} what? Give ids, or else options such as --task, --state and --object.")
    if ids:
        yield [arguments.operation_of(pk) for pk in dict.fromkeys(ids)]
        return
    console.confirm(_question(filters, among, verb), yes)
    yield from console.progress(filters.pages(among, BATCH), len)


def _question(filters: Filters, among: Any, verb: str) -> str:
    page = filters.page(among, 1_000)
    more = "more than " if page.after is not None else ""
    return f"{verb} {more}{plural(page.operations, 'operation')}?"
