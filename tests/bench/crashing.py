"""How long `assert_crash_safe` takes over a task of many statements, in one transaction and each in its own."""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext

import django
from django.db.utils import ConnectionHandler

from tests.support.servers import Database, MariaDB, PostgreSQL

SERVERS: dict[str, type[Database]] = {"postgresql": PostgreSQL, "mariadb": MariaDB}
NAMES = ("sqlite", *SERVERS)


def main(options: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench crashing", description=__doc__)
    parser.add_argument("--statements", type=int, default=60)
    parser.add_argument("--database", choices=NAMES, help="default: each, in a process of its own")
    given, _ = parser.parse_known_args(options)
    if given.database:
        measure(given.database, given.statements)
        return
    for name in NAMES:
        command = [sys.executable, "-m", "tests.bench", "crashing", "--database", name, *options]
        subprocess.run(command, check=True)


def measure(name: str, statements: int) -> None:
    """Say how long it takes on one database."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    with SERVERS[name]() if name in SERVERS else nullcontext() as server:
        if server:
            settings = ConnectionHandler({"default": server.django_settings()}).settings["default"]
            os.environ["TASK_SAFETY_TEST_DATABASE"] = json.dumps(settings)
        django.setup()
        from django.test.utils import setup_databases, teardown_databases

        made = setup_databases(verbosity=0, interactive=False)
        try:
            explore(name, statements)
        finally:
            teardown_databases(made, verbosity=0)


def explore(name: str, statements: int) -> None:
    from django_task_safety import safe_task
    from django_task_safety.testing import assert_crash_safe
    from tests.testapp.models import Order

    def charge(number: int) -> None:
        for amount in range(1, statements + 1):
            Order.objects.filter(number=number).update(charged=amount)

    Order.objects.create(number=7, amount=1)
    for kind, task in {
        "in one transaction": safe_task(name=f"{__name__}.atomic")(charge),
        "each in its own": safe_task(name=f"{__name__}.apart", atomic=False)(charge),
    }.items():
        start = time.perf_counter()
        report = assert_crash_safe(task, 7)
        seconds = time.perf_counter() - start
        print(f"{name:11}{statements} statements, {kind:20}{len(report.points)} points {seconds:6.1f} s", flush=True)
