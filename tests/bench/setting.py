"""What the benchmarks share: private servers that are durable, turns, and ratios within one run."""

import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import django
from django.db.utils import ConnectionHandler

from tests.support.servers import PostgreSQL, Redis


@contextmanager
def servers(aliases: tuple[str, ...] = (), **task_safety: Any) -> Iterator[PostgreSQL]:
    """Start the servers, and Django on them, for this process and its children.

    PostgreSQL flushes each commit to the disk, as one that is not for tests does.

    Args:
        aliases: Further databases.
        task_safety: Settings.
    """
    with PostgreSQL(durable=True) as database, Redis() as broker:
        settings = ConnectionHandler({"default": database.django_settings()}).settings["default"]
        os.environ["TASK_SAFETY_TEST_DATABASE"] = json.dumps({**settings, "CONN_MAX_AGE": 600})
        os.environ["TASK_SAFETY_TEST_BROKER"] = broker.url
        os.environ["TASK_SAFETY_TEST_BACKEND"] = broker.url
        os.environ["TASK_SAFETY_TEST_SETTINGS"] = json.dumps(task_safety)
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        for alias in aliases:
            add_database(alias)
        yield database


def add_database(alias: str) -> None:
    """Create and migrate another database on the same server."""
    from django.core.management import call_command
    from django.db import connection, connections

    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {connection.ops.quote_name(alias)}")
    connections.settings[alias] = {**connection.settings_dict, "NAME": alias}
    call_command("migrate", verbosity=0, database=alias)


def take_turns(times: int, **functions: Callable[[], Any]) -> dict[str, list[float]]:
    """Return the seconds that each call of each function takes, the calls taking turns."""
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(times):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            taken[name].append(time.perf_counter() - start)
    return taken


def against(taken: Sequence[float], base: Sequence[float]) -> float:
    """Return the median of the ratios within each turn: what disturbs the machine disturbs both."""
    return statistics.median(one / other for one, other in zip(taken, base, strict=False))


def late(taken: Sequence[float]) -> float:
    """Return the 99th percentile."""
    return statistics.quantiles(taken, n=100)[-1]
