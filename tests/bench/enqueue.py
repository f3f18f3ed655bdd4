"""Enqueue: ``.delay()`` of a safe task against a plain ``.delay()`` plus one INSERT that is committed; many at once."""

import argparse
import itertools
import statistics
import time
from collections.abc import Sequence

from tests.bench.setting import against, servers, take_turns

LABELS = {
    "base": "plain .delay() and INSERT",
    "plain": "plain .delay()",
    "safe": "safe_task .delay()",
    "keyed": "idempotent_task .delay()",
    "repeated": "a duplicate .delay()",
}


def main(options: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench enqueue", description=__doc__)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--many", type=int, default=10_000, help="calls of enqueue_many")
    given, _ = parser.parse_known_args(options)
    with servers():
        one_by_one(given.calls)
        at_once(given.many)


def one_by_one(calls: int) -> None:
    from tests.testapp.tasks import charge, plain, record

    numbers = itertools.count(2)
    plain.delay(1), record.delay(1), charge.delay(1)
    taken = take_turns(
        calls,
        base=plain_and_insert,
        safe=lambda: record.delay(1),
        keyed=lambda: charge.delay(next(numbers)),
        plain=lambda: plain.delay(1),
        repeated=lambda: charge.delay(1),
    )
    for name, label in LABELS.items():
        ratio = against(taken[name], taken["base"])
        print(f"{label:26}{statistics.median(taken[name]) * 1e3:7.2f} ms   {ratio:.2f} x the first")


def plain_and_insert() -> None:
    """Do what a careful project does by hand."""
    from django.db import connection

    from tests.testapp.tasks import plain

    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO testapp_effect (name, key, created) VALUES (%s, %s, now())", ["x", "y"])
    plain.delay(1)


def at_once(many: int) -> None:
    from tests.testapp.tasks import plain, record

    start = time.perf_counter()
    for n in range(many):
        plain.delay(n)
    publish = time.perf_counter() - start
    start = time.perf_counter()
    record.enqueue_many([(n,) for n in range(many)])
    took = time.perf_counter() - start
    print(f"{many} plain .delay()      {publish:8.2f} s")
    print(f"enqueue_many of {many}     {took:8.2f} s    {took / publish:.2f} x publishing them")
