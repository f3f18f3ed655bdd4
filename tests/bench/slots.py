"""Loaded into a worker of a benchmark: when each message took its slot and when it left it, one line each."""

import json
import os
import time

from celery.signals import task_postrun, task_prerun

STARTED: dict[str, float] = {}


@task_prerun.connect
def take(task_id, **kwargs):
    STARTED[task_id] = time.perf_counter()


@task_postrun.connect
def leave(task_id, **kwargs):
    # The clock is the same in all processes of a machine. One write, so that they do not mix their lines.
    line = json.dumps([task_id, STARTED.pop(task_id), time.perf_counter()])
    with open(os.environ["TASK_SAFETY_BENCH_FILE"], "a") as file:
        file.write(f"{line}\n")
