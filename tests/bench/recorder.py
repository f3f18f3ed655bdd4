"""Loaded into a worker of a benchmark: the time from the end of one task to the end of the next, by task, and how much
of a safe task's is the package's own."""

import functools
import json
import os
import time
from collections import defaultdict
from pathlib import Path

from celery.signals import task_postrun, worker_process_shutdown, worker_shutdown
from django.db.backends.postgresql.base import DatabaseWrapper
from django.db.backends.signals import connection_created

from django_task_safety.worker import delivery
from tests.testapp import tasks

TAKEN: dict[str, list[float]] = defaultdict(list)
LAST = [0.0]
#: Seconds within the delivery that runs: all of it, in our statements, in the body, in commits and connecting.
SPENT: dict[str, float] = defaultdict(float)


def timed(owner, name, kind):
    original = getattr(owner, name)

    @functools.wraps(original)
    def measure(*args, **kwargs):
        start = time.perf_counter()
        try:
            return original(*args, **kwargs)
        finally:
            SPENT[kind] += time.perf_counter() - start

    setattr(owner, name, measure)


timed(delivery, "deliver", "all")
timed(DatabaseWrapper, "_commit", "others")
timed(DatabaseWrapper, "connect", "others")
for task in (tasks.bench_safe, tasks.bench_idempotent):
    timed(task, "body", "body")


def _time_statement(execute, sql, params, many, context):
    start = time.perf_counter()
    try:
        return execute(sql, params, many, context)
    finally:
        if "django_task_safety_operation" in sql:
            SPENT["sql"] += time.perf_counter() - start


def watch(connection, **kwargs):
    if _time_statement not in connection.execute_wrappers:
        connection.execute_wrappers.append(_time_statement)


connection_created.connect(watch, weak=False)


@task_postrun.connect
def record(sender, **kwargs):
    now = time.perf_counter()
    name = sender.name.rpartition(".")[2]
    if LAST[0]:
        TAKEN[name].append(now - LAST[0])
        if SPENT["all"]:
            TAKEN[f"{name} sql"].append(SPENT["sql"])
            TAKEN[f"{name} python"].append(SPENT["all"] - SPENT["sql"] - SPENT["body"] - SPENT["others"])
    LAST[0] = now
    SPENT.clear()


@worker_shutdown.connect
@worker_process_shutdown.connect
def write(**kwargs):
    """Of a prefork worker only its one child has something to write."""
    if TAKEN:
        Path(os.environ["TASK_SAFETY_BENCH_FILE"]).write_text(json.dumps(TAKEN))
