"""Duplicates of a task that runs for ten seconds: how long each of them holds a slot of a real prefork worker."""

import json
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import redis

from tests.bench.setting import servers
from tests.support.workers import Worker, until

#: Of each kind.
DUPLICATES = 60
#: Milliseconds.
LIMIT = 50


def main(options: Sequence[str]) -> None:
    with servers(), tempfile.TemporaryDirectory() as folder:
        from django_task_safety.models import Operation
        from tests.testapp.tasks import bench_long

        queue = redis.Redis.from_url(os.environ["TASK_SAFETY_TEST_BROKER"])
        operation = bench_long.enqueue(1)
        (message,) = queue.lrange("celery", 0, -1)
        file = Path(folder, "slots")
        with Worker("-I", "tests.bench.slots", concurrency=2, TASK_SAFETY_BENCH_FILE=str(file)):
            until(lambda: Operation.objects.filter(state="running").exists())
            others = {deliver_both(queue, json.loads(message), bench_long) for _ in range(DUPLICATES)}
            until(lambda: Operation.objects.filter(state="succeeded").exists())
            until(lambda: any(end - start > 1 for _, start, end, _ in slots(file)))
        report(slots(file), str(operation.pk), others)


def deliver_both(queue, message, task) -> str:
    """Deliver a copy of the message, and a call with the same key under an id of its own, which is returned."""
    message["properties"]["delivery_tag"] = str(uuid.uuid4())
    queue.lpush("celery", json.dumps(message))
    other = task.app.send_task(task.name, (1,)).id
    time.sleep(0.1)
    return other


def slots(file: Path) -> list[tuple[str, float, float, float]]:
    return [tuple(json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


def report(found: list[tuple[str, float, float, float]], first: str, others: set[str]) -> None:
    """Print what was held while the first one ran, by kind."""
    _, started, ended, _ = max(found, key=lambda slot: slot[2] - slot[1])
    print(f"the task itself           {ended - started:8.1f} s")
    for name, ids in {"the same id": {first}, "another id, the same key": others}.items():
        meanwhile = [slot for slot in found if slot[0] in ids and started < slot[1] and slot[2] < ended]
        held = [(end - start) * 1000 for _, start, end, _ in meanwhile]
        # A process's first full collection takes as long as its heap is large, whatever the task.
        alone = [(end - start - collected) * 1000 for _, start, end, collected in meanwhile]
        print(
            f"{name:26}{len(held):4} deliveries   {statistics.median(held):6.1f} ms median  {max(held):6.1f} ms max, "
            f"{max(alone):.1f} ms without Python's garbage collection   (limit {LIMIT} ms)"
        )
