"""Worker time per task: a safe task against the same body as a plain late-ack task, taking turns in one worker."""

import json
import statistics
import tempfile
from pathlib import Path

from tests.bench.setting import servers
from tests.workers import Worker, until

TASKS = 1000


def main() -> None:
    with servers(), tempfile.TemporaryDirectory() as folder:
        from tests.testapp.models import Effect
        from tests.testapp.tasks import bench_idempotent, bench_plain, bench_safe

        for n in range(TASKS):
            for task in (bench_plain, bench_safe, bench_idempotent):
                task.delay(n)
        file = Path(folder, "taken.json")
        worker = Worker("-I", "tests.bench.recorder", pool="solo", concurrency=1, TASK_SAFETY_BENCH_FILE=str(file))
        with worker:
            until(lambda: Effect.objects.count() >= 3 * TASKS, timeout=300, pause=0.5)
        taken = json.loads(file.read_text())
    base = statistics.median(taken["bench_plain"])
    for name, found in taken.items():
        median = statistics.median(found)
        print(f"{name:18} {median * 1e6:7.0f} us per task  {median / base:.2f} x the plain late-ack task")
