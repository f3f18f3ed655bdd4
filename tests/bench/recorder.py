"""Loaded into a worker of a benchmark: the time from the end of one task to the end of the next, by task."""

import json
import os
import time
from collections import defaultdict
from pathlib import Path

from celery.signals import task_postrun, worker_process_shutdown, worker_shutdown

TAKEN: dict[str, list[float]] = defaultdict(list)
LAST = [0.0]


@task_postrun.connect
def record(sender, **kwargs):
    now = time.perf_counter()
    if LAST[0]:
        TAKEN[sender.name.rpartition(".")[2]].append(now - LAST[0])
    LAST[0] = now


@worker_shutdown.connect
@worker_process_shutdown.connect
def write(**kwargs):
    """Of a prefork worker only its one child has something to write."""
    if TAKEN:
        Path(os.environ["TASK_SAFETY_BENCH_FILE"]).write_text(json.dumps(TAKEN))
