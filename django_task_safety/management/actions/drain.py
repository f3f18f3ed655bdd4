"""``task_safety drain``: wait until nothing is pending, before a release or before leaving."""

import argparse
import time
from collections import defaultdict
from datetime import datetime
from typing import Any

from django_task_safety.ledger import table
from django_task_safety.management import arguments, rows
from django_task_safety.management.console import Console, SomethingIsWrong, plural
from django_task_safety.models import Operation

HELP = "wait until nothing is pending"

#: Seconds between two looks.
INTERVAL = 0.5
#: So many are looked at, at once.
_LIMIT = 10_000

_Left = list[tuple[str, str, str, datetime]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's own options."""
    add = parser.add_argument
    add("--task", default="", metavar="NAME", help="only what is pending of this task")
    add("--queue", default="", metavar="NAME", help="only what is pending in this queue")
    add("--existing", action="store_true", help="do not wait for what is asked for from now on")
    add(
        "--timeout", type=arguments.seconds, metavar="TIME", help="at most so long: a number of seconds, or 15m, 2h, 1d"
    )


def run(console: Console, *, task: str, queue: str, existing: bool, timeout: float | None, **options: Any) -> None:
    """Wait. Raises `SomethingIsWrong` where the time is over before."""
    pending = Operation.all_rows.pending()
    for name, value in (("task", task), ("queue", queue)):
        pending = pending.filter(**{name: value}) if value else pending
    if existing:
        pending = pending.filter(created_at__lte=table.now())
    began = time.monotonic()
    while left := _look(pending):
        passed = time.monotonic() - began
        if timeout is not None and passed >= timeout:
            break
        console.show(f"{_number(left)} pending after {passed:.0f} s")
        time.sleep(INTERVAL if timeout is None else min(INTERVAL, timeout - passed))
    console.show("")
    seconds = round(time.monotonic() - began, 1)
    groups = _groups(left)
    console.answer(
        {"drained": not left, "seconds": seconds, "pending": groups},
        [_line(group) for group in groups] or ["Nothing is pending."],
    )
    if left:
        raise SomethingIsWrong(f"Still pending after {seconds:g} s: {_number(left)}.")


def _look(pending: Any) -> _Left:
    return list(pending.order_by().values_list("task", "queue", "state", "available_at")[:_LIMIT])


def _number(left: _Left) -> str:
    return f"{plural(left, 'operation')}" + (" or more" if len(left) == _LIMIT else "")


def _groups(left: _Left) -> list[dict[str, Any]]:
    moments = defaultdict(list)
    for task, queue, state, moment in left:
        moments[task, queue, state].append(moment)
    return [
        {"task": task, "queue": queue, "state": state, "number": len(found), "until": max(found)}
        for (task, queue, state), found in sorted(moments.items())
    ]


def _line(group: dict[str, Any]) -> str:
    where = f" in the queue {group['queue']}" if group["queue"] else ""
    until = f", the last of them not before {rows.moment(group['until'])}" if group["state"] == "queued" else ""
    return f"{group['number']:,} {group['state']}: {group['task']}{where}{until}"
