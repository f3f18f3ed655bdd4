"""Loaded into a worker of a benchmark: when each message took its slot, when it left it, and for how long Python's
garbage collector held it meanwhile, one line each."""

import gc
import json
import os
import time

from celery.signals import task_postrun, task_prerun

STARTED: dict[str, float] = {}
#: Seconds of garbage collection in this process, and when the current one began.
COLLECTED, BEGUN = [0.0], [0.0]


@gc.callbacks.append
def collect(phase, info):
    if phase == "start":
        BEGUN[0] = time.perf_counter()
    else:
        COLLECTED[0] += time.perf_counter() - BEGUN[0]


@task_prerun.connect
def take(task_id, **kwargs):
    COLLECTED[0] = 0.0
    STARTED[task_id] = time.perf_counter()


@task_postrun.connect
def leave(task_id, **kwargs):
    # The clock is the same in all processes of a machine. One write, so that they do not mix their lines.
    line = json.dumps([task_id, STARTED.pop(task_id), time.perf_counter(), COLLECTED[0]])
    with open(os.environ["TASK_SAFETY_BENCH_FILE"], "a") as file:
        file.write(f"{line}\n")
