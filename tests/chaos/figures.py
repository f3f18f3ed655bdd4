"""The runs that there are, and what was measured of them, with all that it depends on."""

import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from tests.chaos.faults import FAULTS
from tests.chaos.ledger import Counted, Run
from tests.support.servers import MariaDB, PostgreSQL, RabbitMQ, Redis, Server

FILE = Path(__file__).with_name("figures.json")
BROKERS = {"embedded": None, "redis": Redis, "rabbitmq": RabbitMQ}
DATABASES = {"sqlite": None, "postgresql": PostgreSQL, "mariadb": MariaDB}
SERVERS: tuple[type[Server], ...] = (PostgreSQL, MariaDB, Redis, RabbitMQ)
PACKAGES = ("django-task-safety", "django", "celery", "kombu", "celery-once", "celery-singleton", "celery-heimdall")
#: Each kind of task, as it is called in tests.chaos.variants, which only a project can import.
VARIANTS = (
    "idempotent_task",
    "plain, early ack",
    "plain, late ack",
    "celery-once",
    "celery-singleton",
    "celery-heimdall",
)
OURS = VARIANTS[0]


@dataclasses.dataclass(frozen=True)
class Row:
    """A run, and its counts, or why there are none."""

    run: Run
    counted: Counted | None = None
    skipped: str = ""

    @property
    def is_ours(self) -> bool:
        return self.run.variant == OURS


@dataclasses.dataclass
class Figures:
    """All rows that were measured under the same circumstances."""

    environment: dict[str, str]
    rows: list[Row] = dataclasses.field(default_factory=list)

    def row_of(self, run: Run) -> Row | None:
        return next((row for row in self.rows if row.run == run), None)

    def add(self, row: Row) -> None:
        self.rows = [other for other in self.rows if other.run != row.run] + [row]


def plan(variant: str, seed: int, calls: int | None = None) -> Iterator[Run]:
    """Yield the runs of one kind of task."""
    for fault in FAULTS.values():
        for broker, database in fault.settings:
            # The broker that is a folder is not for peers of Redis, nor for many calls.
            if broker == "embedded" and variant.startswith("celery-"):
                continue
            many = fault.calls if broker != "embedded" else min(300, fault.calls)
            yield Run(fault.name, broker, database, variant, calls or many, seed)


def missing(run: Run) -> str | None:
    """Return why the run cannot be made here, or None if it can."""
    if run.variant.startswith("celery-") and find_spec(run.variant.replace("-", "_")) is None:
        return f"{run.variant} is not installed"
    needed = filter(None, (BROKERS[run.broker], DATABASES[run.database]))
    absent = (server.missing() for server in needed)
    return next(filter(None, absent), None) or FAULTS[run.fault]().missing()


def measure(run: Run) -> Row:
    """Make the run in a process of its own, or say why there are no counts."""
    if reason := missing(run):
        return Row(run, skipped=reason)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "counted")
        command = [sys.executable, "-m", "tests.chaos.one_run", str(file)]
        asked = json.dumps(dataclasses.asdict(run))
        done = subprocess.run(command, input=asked, text=True, stderr=subprocess.PIPE, check=False)
        if done.returncode:
            print(done.stderr, file=sys.stderr, flush=True)
            return Row(run, skipped="it could not be measured")
        return Row(run, Counted(**json.loads(file.read_text())))


def environment(seed: int) -> dict[str, str]:
    """Return what the figures depend on, and what says nothing about whose machine it is."""
    versions = [("Python", platform.python_version())]
    for name in PACKAGES:
        try:
            versions.append((name, version(name)))
        except PackageNotFoundError:
            continue
    versions += [(server.__name__, server.version()) for server in SERVERS if not server.missing()]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "seed": str(seed),
        "versions": ", ".join(f"{name} {number}" for name, number in versions),
        "machine": f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GiB, {platform.system()}",
    }


def read(environment: dict[str, str] | None = None) -> Figures:
    """Return what was written; nothing where that was in another environment than the given one."""
    written = json.loads(FILE.read_text()) if FILE.is_file() else {"environment": environment or {}, "rows": []}
    if environment not in (None, written["environment"]):
        return Figures(environment or {})
    rows = [
        Row(Run(**one["run"]), Counted(**one["counted"]) if one["counted"] else None, one["skipped"])
        for one in written["rows"]
    ]
    return Figures(written["environment"], rows)


def write(found: Figures) -> None:
    lines = ",\n".join(json.dumps(dataclasses.asdict(row)) for row in found.rows)
    FILE.write_text(f'{{"environment": {json.dumps(found.environment)},\n"rows": [\n{lines}\n]}}\n')
