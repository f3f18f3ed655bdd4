"""Worker time per task: a safe task against the same body as a plain late-ack task, taking turns in one worker."""

import json
import statistics
import tempfile
from pathlib import Path

from tests.bench.setting import servers
from tests.workers import Worker, until

TASKS = 1000


#: (pool, log level): Celery's own defaults, a log in which each transition is a line, and the pool that adds least.
WORKERS = (("prefork", "WARNING"), ("prefork", "INFO"), ("solo", "WARNING"))


def main() -> None:
    with servers(), tempfile.TemporaryDirectory() as folder:
        for pool, level in WORKERS:
            taken = take_turns(pool, level, Path(folder, f"{pool}-{level}.json"))
            base = statistics.median(taken["bench_plain"])
            for name, found in taken.items():
                median = statistics.median(found)
                ratio = f"{median / base:.2f} x the plain late-ack task"
                print(f"{pool:8} {level:8} {name:18} {median * 1e6:7.0f} us per task  {ratio}")


def take_turns(pool: str, level: str, file: Path) -> dict[str, list[float]]:
    from tests.testapp.models import Effect
    from tests.testapp.tasks import bench_idempotent, bench_plain, bench_safe

    before = Effect.objects.count()
    for n in range(TASKS):
        for task in (bench_plain, bench_safe, bench_idempotent):
            task.delay(before + n)
    options = ("-I", "tests.bench.recorder", "-l", level)
    with Worker(*options, pool=pool, concurrency=1, TASK_SAFETY_BENCH_FILE=str(file)):
        until(lambda: Effect.objects.count() >= before + 3 * TASKS, timeout=300, pause=0.5)
    found: dict[str, list[float]] = json.loads(file.read_text())
    return found
