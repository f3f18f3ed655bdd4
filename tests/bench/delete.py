"""Deleting an object with many pending operations, against one hand-written UPDATE of as many rows."""

import statistics
import time
from collections.abc import Sequence

from tests.bench.setting import servers

OPERATIONS = 100_000
ROUNDS = 6


def main(options: Sequence[str]) -> None:
    with servers():
        from django.db import connection

        from tests.testapp.models import City

        taken: dict[str, list[float]] = {"update": [], "delete": []}
        for number in range(ROUNDS):
            by_hand, deleted = (City.objects.create(code=f"{number}-{n}") for n in range(2))
            for city in (by_hand, deleted):
                fill(connection, city)
            ways = [("update", lambda city=by_hand: update(connection, city)), ("delete", deleted.delete)]
            # Each of them goes first every other time.
            for name, way in ways if number % 2 else ways[::-1]:
                start = time.perf_counter()
                way()
                taken[name].append(time.perf_counter() - start)
            assert not by_hand.operations.pending().exists()
        base, ours = (statistics.median(found) for found in taken.values())
        print(f"{OPERATIONS} operations: UPDATE {base:.2f} s, delete() {ours:.2f} s, {ours / base:.2f} x")


def fill(connection, city) -> None:
    """Copy one queued row many times."""
    from django_task_safety.models import Operation
    from tests.testapp.guarded_tasks import cancelled_with

    seed = cancelled_with.enqueue(city)
    names = [field.column for field in Operation._meta.concrete_fields]
    values = ", ".join("gen_random_uuid()" if name == "id" else name for name in names)
    table = Operation._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(names)}) "
            f"SELECT {values} FROM {table}, generate_series(2, %s) WHERE id = %s",
            [OPERATIONS, seed.pk],
        )
        cursor.execute(f"VACUUM ANALYZE {table}")


def update(connection, city) -> None:
    """Do in one statement what deleting the object does to its operations."""
    from django_task_safety.models import Operation

    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {Operation._meta.db_table} SET state = 'cancelled', token = NULL, deadline_at = NULL, "
            "lock_slot = NULL, error = 'deleted', ended_at = now(), due_at = now() + retention "
            "WHERE subject_label = 'testapp.city' AND subject_id = %s AND state IN ('queued', 'running')",
            [city.pk],
        )
        assert cursor.rowcount == OPERATIONS
