"""Worker time per task: a safe task against the same body as a plain late-ack task, taking turns in one worker."""

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench.setting import against, servers
from tests.support.workers import Worker, until

#: What becomes of connections: ``CONN_MAX_AGE``, and Celery's ``CELERY_DB_REUSE_MAX``, by which it keeps them for plain
#: tasks as well.
SETTINGS = {
    "both connect for each task": (0, 0),
    "CONN_MAX_AGE is set": (600, 0),
    "both keep their connection": (600, 1_000_000),
}


def main(options: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench worker", description=__doc__)
    parser.add_argument("--tasks", type=int, default=500, help="of each kind, in each setting")
    parser.add_argument("--pool", default="prefork")
    parser.add_argument("--level", default="WARNING", help="of the worker's log")
    given, _ = parser.parse_known_args(options)
    with servers(), tempfile.TemporaryDirectory() as folder:
        for number, (name, kept) in enumerate(SETTINGS.items()):
            print(f"{name} (CONN_MAX_AGE {kept[0]}, CELERY_DB_REUSE_MAX {kept[1]})")
            report(work(given, *kept, Path(folder, str(number))))


def report(taken: dict[str, list[float]]) -> None:
    plain = taken["bench_plain"]
    for name in ("bench_plain", "bench_safe", "bench_idempotent"):
        line = f"  {name:18}{statistics.median(taken[name]) * 1e3:7.2f} ms   {against(taken[name], plain):5.2f} x"
        if f"{name} sql" in taken:
            ours = (statistics.median(taken[f"{name} {kind}"]) * 1e3 for kind in ("sql", "python"))
            line += "   ours: {:.2f} ms in SQL, {:.2f} ms in Python".format(*ours)
        print(line, flush=True)


def work(given: argparse.Namespace, age: int, reuse: int, file: Path) -> dict[str, list[float]]:
    from tests.testapp.models import Effect
    from tests.testapp.tasks import bench_idempotent, bench_plain, bench_safe

    before = Effect.objects.count()
    for n in range(given.tasks):
        for task in (bench_plain, bench_safe, bench_idempotent):
            task.delay(before + n)
    database = json.dumps({**json.loads(os.environ["TASK_SAFETY_TEST_DATABASE"]), "CONN_MAX_AGE": age})
    env = {"TASK_SAFETY_TEST_DATABASE": database, "TASK_SAFETY_TEST_REUSE": str(reuse)}
    options = ("-I", "tests.bench.recorder", "-l", given.level)
    with Worker(*options, pool=given.pool, concurrency=1, TASK_SAFETY_BENCH_FILE=str(file), **env):
        until(lambda: Effect.objects.count() >= before + 3 * given.tasks, timeout=600, pause=0.5)
    found: dict[str, list[float]] = json.loads(file.read_text())
    return found
