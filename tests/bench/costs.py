"""What an operation costs the server, from its log and its statistics: of `enqueue`, and of a run in a worker."""

import argparse
import dataclasses
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import partial

from tests.bench.setting import servers
from tests.support.servers import PostgreSQL
from tests.support.workers import Worker, until

#: Every message from a client is a line, with BEGIN and COMMIT.
LINE = re.compile(r"LOG:  (?:statement|execute [^:]*): (\w+)")
CONTROLS = {"BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE"}
STATISTICS = """
    SELECT (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()),
        (SELECT wal_sync FROM pg_stat_wal), pg_current_wal_insert_lsn() - '0/0',
        (SELECT n_tup_upd + n_tup_del FROM pg_stat_user_tables WHERE relname = 'django_task_safety_operation'),
        (SELECT n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'django_task_safety_operation')"""


@dataclasses.dataclass
class Costs:
    """All of them for one operation."""

    statements: float
    round_trips: float
    transactions: float
    flushes: float
    wal: float
    index_writes: float
    dead: float
    hot: float

    def __str__(self) -> str:
        return (
            f"{self.statements:5.1f} statements {self.round_trips:5.1f} round trips {self.transactions:5.1f} commits"
            f" {self.flushes:5.2f} flushes {self.wal:6.0f} bytes of WAL {self.index_writes:5.2f} index writes"
            f" {self.dead:5.2f} dead rows, {self.hot:.2f} of them without a change of indexes"
        )


def main(options: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench costs", description=__doc__)
    parser.add_argument("--operations", type=int, default=300, help="of each kind")
    given, _ = parser.parse_known_args(options)
    with servers() as database:
        from tests.testapp.models import Effect, Order
        from tests.testapp.tasks import bench_idempotent, bench_plain, bench_safe

        Order.objects.bulk_create([Order(number=number, amount=1) for number in range(100)])
        prepare(database)
        for name, task in {"plain": bench_plain, "safe": bench_safe, "idempotent": bench_idempotent}.items():
            total = Effect.objects.count() + given.operations
            work = {"enqueue": partial(ask, task, given.operations), "run": partial(run, total)}
            for step, call in work.items():
                print(f"{name:11} {step:8}{measure(database, given.operations, call)}", flush=True)


def ask(task, number: int) -> None:
    for n in range(number):
        task.delay(n)


def run(total: int) -> None:
    from django.db import connection

    from tests.testapp.models import Effect

    with Worker("-l", "ERROR", concurrency=1, TASK_SAFETY_TEST_REUSE="1000000"):
        until(lambda: Effect.objects.count() >= total, timeout=300, pause=2)
    connection.close()


def prepare(database: PostgreSQL) -> None:
    """Let the server log what it is told, and leave everything else to us."""
    from django.db import connection

    with connection.cursor() as cursor:
        for setting in ("log_statement = 'all'", "autovacuum = off", "full_page_writes = off"):
            cursor.execute(f"ALTER SYSTEM SET {setting}")
        cursor.execute("SELECT pg_reload_conf()")


def measure(database: PostgreSQL, operations: int, work: Callable[[], None]) -> Costs:
    log = database.directory / "log"
    before, start = statistics(), log.stat().st_size
    work()
    words = [match[1].upper() for match in LINE.finditer(log.read_bytes()[start:].decode())]
    after = statistics()
    index_writes = btree_records(database, before[2], after[2])
    told = [len([word for word in words if word not in CONTROLS]), len(words)]
    commits, flushes, wal, dead, hot = (new - old for new, old in zip(after, before, strict=True))
    return Costs(*(float(one) / operations for one in (*told, commits, flushes, wal, index_writes, dead, hot)))


def statistics() -> list[int]:
    """Return the server's counters, in which every backend has written what it did."""
    from django.db import connection

    connection.close()
    time.sleep(1.5)  # not a synchronisation: the server has no other sign that it has counted
    with connection.cursor() as cursor:
        cursor.execute(STATISTICS)
        found = [int(number or 0) for number in cursor.fetchone()]
    return found


def btree_records(database: PostgreSQL, start: int, end: int) -> int:
    """Return how many entries were written into indexes, by the log."""
    program = PostgreSQL._find("pg_waldump")
    bounds = (f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}" for lsn in (start, end))
    options = [flag for pair in zip(("--start", "--end"), bounds, strict=True) for flag in pair]
    path = str(database.directory / "data" / "pg_wal")
    done = subprocess.run(
        [program, "--path", path, "--rmgr", "Btree", *options], capture_output=True, text=True, check=False
    )
    return sum("desc: INSERT" in line or "desc: SPLIT" in line for line in done.stdout.splitlines())
