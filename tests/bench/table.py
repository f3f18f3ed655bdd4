"""A claim, a duplicate of what runs, and a sweep at rest: an empty table against millions of ended rows."""

import functools
import uuid

from tests.bench.setting import per_call, servers

ROWS = 5_000_000
CALLS = 400


def main() -> None:
    with servers(aliases=("empty", "full")):
        from django.db import connections

        from django_task_safety.ledger import statements

        fill(connections["full"])
        functions = {}
        for alias in ("empty", "full"):
            connection = connections[alias]
            ids = iter(queue(connection, CALLS + 1))
            running = next(ids)
            claim = functools.partial(claim_one, statements, connection)
            claim(running)
            functions[f"claim_{alias}"] = functools.partial(lambda claim, ids: claim(next(ids)), claim, ids)
            functions[f"duplicate_{alias}"] = functools.partial(claim, running)
            functions[f"sweep_{alias}"] = functools.partial(look, connection)
        took = per_call(CALLS, **functions)
        for name in ("claim", "duplicate", "sweep"):
            empty, full = took[f"{name}_empty"], took[f"{name}_full"]
            print(f"{name:10}{empty * 1e6:7.0f} us empty  {full * 1e6:7.0f} us full  {full / empty:.2f} x")


def claim_one(statements, connection, pk) -> None:
    statements.claim_or_read(connection, pk, uuid.uuid4(), "bench", 3600, None)


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

    made = [make_call(bench_idempotent, (n,), {}, {}).operation for n in range(count)]
    inserting.insert(connection, made)
    return [operation.pk for operation in made]


def fill(connection) -> None:
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
            [ROWS, seed],
        )
        cursor.execute(f"DELETE FROM {table} WHERE id = %s", [seed])
        cursor.execute(f"VACUUM ANALYZE {table}")
