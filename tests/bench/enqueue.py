"""Enqueue: ``.delay()`` of a safe task against a plain ``.delay()`` plus one INSERT; 10,000 with `enqueue_many`."""

import itertools
import time

from tests.bench.setting import per_call, servers

CALLS = 500
MANY = 10_000


def main() -> None:
    with servers():
        from tests.testapp.models import Effect
        from tests.testapp.tasks import charge, plain, record

        plain.delay(1), record.delay(1)
        numbers = itertools.count(2)
        took = per_call(
            CALLS,
            delay=lambda: plain.delay(1),
            insert=lambda: Effect.objects.create(name="x", key="y"),
            safe=lambda: record.delay(1),
            keyed=lambda: charge.delay(next(numbers)),
            repeated=lambda: charge.delay(1),
        )
        base = took["delay"] + took["insert"]
        labels = {
            "delay": "plain .delay()",
            "insert": "one INSERT",
            "safe": "safe_task .delay()",
            "keyed": "idempotent_task .delay()",
            "repeated": "a duplicate .delay()",
        }
        for name, label in labels.items():
            print(f"{label:26}{took[name] * 1e6:8.0f} us   {took[name] / base:.2f} x the sum of the first two")
        start = time.perf_counter()
        for n in range(MANY):
            plain.delay(n)
        publish = time.perf_counter() - start
        start = time.perf_counter()
        record.enqueue_many([(n,) for n in range(MANY)])
        many = time.perf_counter() - start
        print(f"{MANY} plain .delay()      {publish:8.2f} s")
        print(f"enqueue_many of {MANY}     {many:8.2f} s    {many / publish:.2f} x publishing them")
