"""Worker time per task: a safe task against the same body as a plain late-ack task, taking turns in one worker."""

import json
import os
import statistics
import tempfile
from pathlib import Path

from tests.bench.setting import servers
from tests.support.workers import Worker, until

TASKS = 1000

#: (pool, log level, ``CONN_MAX_AGE``): all defaults; connections that the project keeps; a log in which each transition
#: is a line; and the pool that adds least.
WORKERS = (
    ("prefork", "WARNING", 0),
    ("prefork", "WARNING", 600),
    ("prefork", "INFO", 600),
    ("solo", "WARNING", 0),
    ("solo", "WARNING", 600),
)


def main() -> None:
    with servers(), tempfile.TemporaryDirectory() as folder:
        for worker in WORKERS:
            taken = take_turns(*worker, Path(folder, f"{'-'.join(map(str, worker))}.json"))
            base = statistics.median(taken["bench_plain"])
            for name, found in taken.items():
                median = statistics.median(found)
                ratio = f"{median / base:.2f} x the plain late-ack task"
                pool, level, age = worker
                print(f"{pool:8}{level:8} CONN_MAX_AGE {age:<3}  {name:18}{median * 1e6:7.0f} us per task  {ratio}")


def take_turns(pool: str, level: str, age: int, file: Path) -> dict[str, list[float]]:
    from tests.testapp.models import Effect
    from tests.testapp.tasks import bench_idempotent, bench_plain, bench_safe

    before = Effect.objects.count()
    for n in range(TASKS):
        for task in (bench_plain, bench_safe, bench_idempotent):
            task.delay(before + n)
    options = ("-I", "tests.bench.recorder", "-l", level)
    database = json.dumps({**json.loads(os.environ["TASK_SAFETY_TEST_DATABASE"]), "CONN_MAX_AGE": age})
    env = {"TASK_SAFETY_TEST_DATABASE": database}
    with Worker(*options, pool=pool, concurrency=1, TASK_SAFETY_BENCH_FILE=str(file), **env):
        until(lambda: Effect.objects.count() >= before + 3 * TASKS, timeout=300, pause=0.5)
    found: dict[str, list[float]] = json.loads(file.read_text())
    return found
