"""Real workers whose connections are shared: by PgBouncer among all clients, by Django's pool within a process."""

import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from django.db import connection, connections, transaction

from django_task_safety.models import Operation
from tests.support.servers import PgBouncer, PostgreSQL
from tests.support.workers import until
from tests.testapp.models import Effect, Note, Vault
from tests.testapp.tasks import act, charge, copy_note, record, slow, watched

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("config.getoption('db') != 'postgresql'", reason="both are PostgreSQL's"),
    pytest.mark.parametrize("broker", ["embedded"], indirect=True),
]

State = Operation.State
#: What a pooler sets itself as each of its clients has it.
CLIENTS_OWN = {"application_name", "client_encoding", "DateStyle", "TimeZone", "standard_conforming_strings"}
SIZE = 4


@pytest.fixture
def use(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Change the settings of the database, here and in the workers."""

    def change(**changes: object) -> None:
        connection.close()
        known = json.loads(os.environ["TASK_SAFETY_TEST_DATABASE"])
        monkeypatch.setenv("TASK_SAFETY_TEST_DATABASE", json.dumps({**known, **changes}))
        for name, value in changes.items():
            monkeypatch.setitem(connections.settings["default"], name, value)

    yield change
    connection.close()
    connection.close_pool()


@pytest.fixture
def bouncer(database_server: PostgreSQL, use: Any) -> Iterator[PgBouncer]:
    """A pooler of transactions, through which this process and the workers reach the database."""
    if reason := PgBouncer.missing():
        pytest.skip(f"{reason}; Debian's package is called pgbouncer")
    with PgBouncer(database_server, size=SIZE) as server:
        use(PORT=server.port, DISABLE_SERVER_SIDE_CURSORS=True)
        yield server
        connection.close()


def ended() -> bool:
    return not Operation.objects.pending().exists()


def until_ended() -> None:
    """Wait until nothing is pending; what still is, and what the worker says, is shown where that takes too long."""
    try:
        until(ended, timeout=100)
    except AssertionError:
        told = ("pk", "task", "state", "attempt", "waits_for", "available_at", "due_at", "worker", "error")
        print(*Operation.all_rows.pending().values(*told), sep="\n")
        print(Path(os.environ["TASK_SAFETY_TEST_LOG"]).read_text()[-5000:])
        raise


def sessions() -> dict[int, tuple[set[str], int]]:
    """Return of each of the pooler's connections which settings are its own, and how many locks it holds."""
    together = Barrier(SIZE, timeout=30)

    def look(_: int) -> tuple[int, tuple[set[str], int]]:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            (pid,) = cursor.fetchone()
            together.wait()  # as many transactions at once as there are connections
            cursor.execute("SELECT name FROM pg_settings WHERE source = 'session'")
            changed = {name for (name,) in cursor.fetchall()}
            cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
            (locks,) = cursor.fetchone()
        connection.close()
        return pid, (changed - CLIENTS_OWN, locks)

    with ThreadPoolExecutor(SIZE) as threads:
        return dict(threads.map(look, range(SIZE)))


def test_work_through_pgbouncer_is_done_and_leaves_its_sessions_as_they_were(start_worker, bouncer):
    start_worker(pool="threads", concurrency=2)
    notes = [Note.objects.create(title=str(number)) for number in range(3)]
    with transaction.atomic():
        for number in range(4):
            watched.delay(5)
            record.delay("recorded", number)
            charge.delay(number % 2)
            act.delay("flaky", number)
    for note in notes:
        copy_note.delay(note)
    slow.delay("same", 0.1)
    slow.delay("same", 0.1)
    with Vault.objects.create().lock("edit", wait=1):
        until(lambda: Effect.objects.filter(name="recorded").count() == 4, timeout=60)
    until_ended()
    for note in notes:
        note.delete()
    assert set(Operation.objects.values_list("state", flat=True)) == {State.SUCCEEDED}
    names = list(Effect.objects.values_list("name", flat=True))
    expected = {"watched": 4, "recorded": 4, "charge": 2, "flaky": 4, "slow": 1}
    assert {name: names.count(name) for name in set(names)} == expected
    found = sessions()
    assert len(found) == SIZE
    assert set(map(repr, found.values())) == {repr((set(), 0))}


@pytest.mark.parametrize("pool", ["threads", "prefork"], indirect=True)
def test_bodies_that_hold_djangos_whole_pool_keep_their_leases(start_worker, broker, use, pool, quick):
    pytest.importorskip("psycopg_pool")
    use(OPTIONS={"pool": {"min_size": 1, "max_size": 2, "timeout": 5}})
    # Children come and go, so that some are forked while the keeper works.
    start_worker(*(["--max-tasks-per-child=1"] if pool == "prefork" else []), pool=pool)
    with transaction.atomic():
        long = [watched.enqueue(2 * quick["LEASE"] * 10) for _ in range(2 if pool == "threads" else 1)]
        short = [record.enqueue("short", number) for number in range(10)]
    connection.close()
    until_ended()
    assert set(Operation.objects.values_list("state", "attempt")) == {(State.SUCCEEDED, 1)}
    assert Effect.objects.count() == len(long) + len(short)
    log = Path(os.environ["TASK_SAFETY_TEST_LOG"]).read_text()
    assert re.findall("could not be renewed|failed and will be tried again|another attempt took over", log) == []
