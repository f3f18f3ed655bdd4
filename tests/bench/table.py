"""A claim, a duplicate of what runs, and a sweep at rest: an empty table against millions of ended rows."""

import argparse
import functools
import statistics
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.bench.setting import against, late, servers, take_turns

#: One after the other: nothing else looks at the table; somebody has looked at it, and holds its snapshot ever since.
SNAPSHOTS = {"": False, "  (an old snapshot is held)": True}


def main(options: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench table", description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--calls", type=int, default=2000)
    given, _ = parser.parse_known_args(options)
    with servers(aliases=("empty", "full")):
        from django.db import connections

        fill(connections["full"], given.rows)
        for label, held in SNAPSHOTS.items():
            with old_snapshots(held):
                compare(given.calls, label)


def compare(calls: int, label: str) -> None:
    from django.db import connections

    functions = {}
    for alias in ("empty", "full"):
        connection = connections[alias]
        ids = iter(queue(connection, calls + 1))
        running = next(ids)
        claim_one(connection, running)
        functions[f"claim_{alias}"] = functools.partial(claim_next, connection, ids)
        functions[f"duplicate_{alias}"] = functools.partial(claim_one, connection, running)
        functions[f"sweep_{alias}"] = functools.partial(look, connection)
    taken = take_turns(calls, **functions)
    for name in ("claim", "duplicate", "sweep"):
        empty, full = taken[f"{name}_empty"], taken[f"{name}_full"]
        medians = f"{statistics.median(empty) * 1e6:7.0f} us empty  {statistics.median(full) * 1e6:7.0f} us full"
        print(
            f"{name:10}{medians}  {against(full, empty):.2f} x, p99 {late(full) / late(empty):.2f} x{label}", flush=True
        )


@contextmanager
def old_snapshots(held: bool) -> Iterator[None]:
    """Hold a transaction open in each database that has looked at the table."""
    from django.db import connections

    holders = [connections.create_connection(alias) for alias in ("empty", "full") if held]
    for holder in holders:
        with holder.cursor() as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SELECT 1 FROM django_task_safety_operation LIMIT 1")
    try:
        yield
    finally:
        for holder in holders:
            holder.close()


def claim_one(connection, pk) -> None:
    from django_task_safety.ledger import statements

    claim = statements.Claim(pk, uuid.uuid4(), "bench", 3600, None, None)
    statements.claim_or_read(connection, claim, durable=False)


def claim_next(connection, ids) -> None:
    claim_one(connection, next(ids))


def look(connection) -> None:
    """The sweeper's look at a table in which nothing is due."""
    from django_task_safety.models import Operation
    from django_task_safety.values.clock import Now

    found = Operation.all_rows.using(connection.alias).filter(due_at__lte=Now()).order_by("due_at")
    assert not list(found.values_list("pk", flat=True)[:500])


def queue(connection, count: int) -> list[uuid.UUID]:
    from django_task_safety.ledger import insert as inserting
    from django_task_safety.producer.call import make_call
    from tests.testapp.tasks import bench_idempotent

    made = [make_call(bench_idempotent, (str(uuid.uuid4()),), {}, {}).operation for _ in range(count)]
    for start in range(0, count, 500):
        inserting.insert(connection, made[start : start + 500])
    return [operation.pk for operation in made]


def fill(connection, rows: int) -> None:
    """Copy one ended row many times, each with an id and a key of its own."""
    from django_task_safety.models import Operation

    (seed,) = queue(connection, 1)
    names = [field.column for field in Operation._meta.concrete_fields]
    special = {"id": "gen_random_uuid()", "key_digest": "md5(n::text) || md5((-n)::text)", "state": "'succeeded'"}
    special["due_at"] = "now() + interval '1 day' + n * interval '1 second'"
    values = ", ".join(special.get(name, name) for name in names)
    table = Operation._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM {table}, generate_series(1, %s) n "
            "WHERE id = %s",
            [rows, seed],
        )
        cursor.execute(f"DELETE FROM {table} WHERE id = %s", [seed])
        cursor.execute(f"VACUUM ANALYZE {table}")
