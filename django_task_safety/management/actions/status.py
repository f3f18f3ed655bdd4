"""``task_safety status``: operations, queues and workers at one glance."""

import argparse
import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django_task_safety import presentation
from django_task_safety.management import rows
from django_task_safety.management.console import Console, SomethingIsWrong, columns, plural
from django_task_safety.overview import Overview, QueueStatus, WorkerStatus, overview

HELP = "show operations, queues and workers at one glance"


_QUEUE = ("QUEUE", "DUE", "OLDEST", "RUNNING", "P50", "P95", "HEARTBEAT", "WORKERS", "PROBLEM")
_WORKER = ("WORKER", "POOL", "QUEUES", "VERSION", "LAST SEEN", "PROBLEM")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's own options: none."""


def run(console: Console, **options: Any) -> None:
    """Show it. Raises `SomethingIsWrong` where there are problems, or stuck work."""
    seen = overview()
    console.answer(_data(seen), _lines(seen))
    if seen.problems or seen.stuck:
        raise SomethingIsWrong(" ".join([*seen.problems, *_stuck(seen)]))


def _data(seen: Overview) -> dict[str, Any]:
    counts = {state.value: dataclasses.asdict(count) for state, count in seen.counts.items()}
    return dataclasses.asdict(seen) | {"counts": counts}


def _lines(seen: Overview) -> Iterator[str]:
    yield ", ".join(f"{count} {state.value}" for state, count in seen.counts.items())
    yield f"last sweep: {rows.moment(seen.last_sweep) if seen.last_sweep else 'never'}"
    if seen.queues:
        yield from ["", *columns([_QUEUE, *map(_queue, seen.queues)])]
    if seen.workers:
        yield from ["", *columns([_WORKER, *map(_worker, seen.workers)])]


def _stuck(seen: Overview) -> list[str]:
    return [f"{plural(seen.stuck, 'operation')} stuck: see task_safety list --stuck."] if seen.stuck else []


def _queue(one: QueueStatus) -> tuple[str, ...]:
    latencies = (_seconds(one.latency_p50), _seconds(one.latency_p95))
    oldest, heartbeat = presentation.in_words(one.oldest), _length(one.heartbeat)
    return (
        one.name,
        f"{one.due:,}",
        oldest,
        f"{one.running:,}",
        *latencies,
        heartbeat,
        str(len(one.workers)),
        one.problem,
    )


def _worker(one: WorkerStatus) -> tuple[str, ...]:
    pool = f"{one.pool}, {one.concurrency}"
    return (one.name, pool, ",".join(one.queues), one.package, rows.moment(one.last_seen), one.problem)


def _length(time: timedelta | None) -> str:
    return _seconds(None if time is None else time.total_seconds())


def _seconds(number: float | None) -> str:
    return "" if number is None else f"{number:.2f} s"
