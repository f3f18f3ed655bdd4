"""Stop PostgreSQL at once, again and again, under load; then count. `python -m tests.crash.durability --help`.

Every other stop comes at any moment under load, the others from a body that has just begun, when nobody else commits.

No body may be there without its claim, nothing may be lost, and nothing done twice. With ``--control`` the tasks
outside a transaction are claimed without a flush as well, and some of their attempts begin twice under one number.
"""

import argparse
import dataclasses
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from tests.bench.setting import servers
from tests.support.servers import PostgreSQL
from tests.support.workers import Worker, until

#: Seconds of load before a stop, at least and at most.
LOAD = (0.1, 0.6)
#: Operations that may wait when a load begins, so that a busy machine has no more to do in the end.
BACKLOG = 150
QUICK = {"LEASE": 3, "SWEEP_INTERVAL": 0.5, "REPUBLISH_AFTER": 15}

#: Effects whose operation does not know of the attempt that left them, in one snapshot. Those of a body in a
#: transaction come with its success.
UNCLAIMED = """
    SELECT count(*) FROM testapp_effect effect LEFT JOIN django_task_safety_operation operation USING (key)
    WHERE operation.id IS NULL OR CASE WHEN effect.key LIKE 'outside%'
        THEN operation.attempt < split_part(effect.name, ' ', 2)::int
        ELSE operation.attempt <> split_part(effect.name, ' ', 2)::int OR operation.state <> 'succeeded' END"""


@dataclasses.dataclass
class Found:
    """What was counted."""

    stops: int = 0
    operations: int = 0
    unclaimed: int = 0
    lost: int = 0
    doubled: int = 0
    #: Attempts that began under a number under which another one had begun, for the first one's claim was lost.
    uncounted: Counter[str] = dataclasses.field(default_factory=Counter)

    @property
    def right(self) -> bool:
        """Whether all is well. A lost claim whose body was lost with it is."""
        wrong = (self.unclaimed, self.lost, self.doubled, self.uncounted["once"], self.uncounted["outside"])
        return not any(wrong)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.durability", description=__doc__)
    parser.add_argument("--stops", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--control", action="store_true")
    given = parser.parse_args()
    random.seed(given.seed)
    with servers(**QUICK) as database, tempfile.TemporaryDirectory() as folder:
        found = run(database, given.stops, Path(folder, "begun"), "1" if given.control else "")
    print(found)
    sys.exit(not found.right)


def run(database: PostgreSQL, stops: int, begun: Path, control: str) -> Found:
    os.environ["TASK_SAFETY_TEST_BEGUN"] = str(begun)
    leave_to_commits()
    found, promised = Found(), set()
    with Worker("-I", "tests.crash.begun", "-l", "ERROR", concurrency=3, TASK_SAFETY_TEST_CONTROL=control):
        until(lambda: warm_up(begun), timeout=60)
        for number in range(stops):
            kind = ("", "inside", "", "once", "", "outside")[number % 6]
            promised |= load_until_stop(database, begun, kind)
            database.restart()
            found.stops += 1
            found.unclaimed += unclaimed()
        drain()
    found.unclaimed += unclaimed()
    count(found, promised, begun)
    return found


def leave_to_commits() -> None:
    """Keep the server's own writer from flushing what no commit flushes."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        cursor.execute("SELECT pg_reload_conf()")


def drain() -> None:
    """Wait until nothing is pending, for as long as there is progress."""
    from django_task_safety.models import Operation

    pending = Operation.objects.pending()
    while left := pending.count():
        try:
            until(lambda: pending.count() < left, timeout=120, pause=0.5)
        except AssertionError:
            raise AssertionError(
                list(pending.values("key", "state", "attempt", "due_at", "republished", "error"))
            ) from None


def warm_up(begun: Path) -> bool:
    from tests.crash.begun import inside

    inside.enqueue(-1)
    time.sleep(0.2)
    return begun.exists()


def load_until_stop(database: PostgreSQL, begun: Path, kind: str) -> set[str]:
    """Enqueue until the server is gone; return the keys of those calls of which it said that they are committed.

    Args:
        database: The server.
        begun: The file of the attempts.
        kind: Of the task that stops the server; none for a stop at any moment.
    """
    from django.db import Error, connection

    from django_task_safety.models import Operation

    promised: set[str] = set()
    until(lambda: Operation.objects.pending().count() < BACKLOG, timeout=120)
    end = time.monotonic() + random.uniform(*LOAD)
    try:
        while time.monotonic() < end:
            enqueue_each(promised)
        if kind:
            let_body_stop(database, begun, kind, promised)
        threading.Timer(random.uniform(0.0, 0.02), database.stop_immediately).start()
        while True:
            enqueue_each(promised)
    except Error:
        return promised
    finally:
        database.stop_immediately()
        connection.close()


def enqueue_each(promised: set[str]) -> None:
    from tests.crash.begun import TASKS

    for name, task in TASKS.items():
        number = random.getrandbits(50)
        task.enqueue(number)
        promised.add(f"{name} {number}")
    time.sleep(0.005)


def let_body_stop(database: PostgreSQL, begun: Path, kind: str, promised: set[str]) -> None:
    """Have the server stopped from a body, whose claim no other commit flushes."""
    from django_task_safety.models import Operation
    from tests.crash.begun import TASKS

    until(lambda: not Operation.objects.filter(state="running").exists(), timeout=60)
    Path(f"{begun}.{kind}").write_text(str(database.pid))
    number = random.getrandbits(50)
    TASKS[kind].enqueue(number)
    promised.add(f"{kind} {number}")
    until(database.ended, pause=0.01)


def unclaimed() -> int:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(UNCLAIMED)
        return int(cursor.fetchone()[0])


def count(found: Found, promised: set[str], begun: Path) -> None:
    """Count what there is when all is drained."""
    from django_task_safety.models import Operation
    from tests.testapp.models import Effect

    states = dict(Operation.objects.values_list("key", "state"))
    effects = Counter(Effect.objects.values_list("key", flat=True))
    found.operations = len(states)
    # One that may begin only once fails where it was interrupted, and leaves nothing.
    ended = {key for key, state in states.items() if state == "succeeded" or key.startswith("once")}
    found.lost = len(promised - ended) + sum(not effects[key] for key in ended if states[key] == "succeeded")
    found.doubled = sum(
        number > (states.get(key) == "succeeded") for key, number in effects.items() if not key.startswith("outside")
    )
    lines = Counter(begun.read_text().splitlines())
    found.uncounted = Counter(line.split()[0] for line in lines.elements())
    found.uncounted.subtract(line.split()[0] for line in lines)


if __name__ == "__main__":
    main()
