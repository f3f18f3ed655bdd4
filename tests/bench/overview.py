"""The overview of millions of operations: how many statements, the slowest of them, and the whole."""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence

from tests.bench.admin import fill
from tests.bench.setting import servers


def main(options: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench overview", description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--times", type=int, default=5)
    given, _ = parser.parse_known_args(options)
    with servers():
        start = time.perf_counter()
        fill(given.rows)
        print(f"{given.rows:,} rows in {time.perf_counter() - start:.0f} s", flush=True)
        look(given.times)
        run(given.times)


def run(times: int) -> None:
    """Show what the command takes as a process, which begins with importing Django and the project."""
    for command in ("--version", "task_safety status"):
        for _ in range(times):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-m", "django", *command.split()], stdout=subprocess.DEVNULL, check=False)
            print(f"django-admin {command}, as a process: {(time.perf_counter() - start) * 1000:.0f} ms")


def look(times: int) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from django_task_safety.models import Operation
    from django_task_safety.overview import overview
    from tests.support.factories import WorkerFactory

    for _ in range(5):
        WorkerFactory()
    for name, call in {
        "overview": overview,
        "100 rows of stuck(), why": lambda: [row.why for row in Operation.objects.stuck()[:100]],
    }.items():
        for _ in range(times):
            with CaptureQueriesContext(connection) as captured:
                start = time.perf_counter()
                call()
                took = time.perf_counter() - start
            slowest = max(float(query["time"]) for query in captured.captured_queries)
            print(f"{name}: {took * 1000:.0f} ms, {len(captured)} statements, the slowest {slowest * 1000:.0f} ms")
