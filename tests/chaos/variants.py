"""The same body as a safe task and as its controls; the workers load this module.

All have as good retries as Celery lets them have, and run in a transaction. Those that take a lock acknowledge late, as
nothing else runs them again, and keep their locks in Redis, in a database of their own.
"""

import os
import select
import time
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from celery import Task, shared_task
from django.db import Error, transaction

from django_task_safety import idempotent_task
from tests.celery import app
from tests.testapp.models import Effect

#: Bytes that an attempt appends, when it begins, to the file of the attempts, which outlives every database.
LINE = 8
#: Seconds after which a lock that nobody released expires: longer than any run takes.
LOCK_EXPIRY = 600
LOCKS = os.environ.get("TASK_SAFETY_CHAOS_LOCKS", "")

app.conf.ONCE = {"backend": "celery_once.backends.Redis", "settings": {"url": LOCKS, "default_timeout": LOCK_EXPIRY}}
app.conf.singleton_backend_url = LOCKS
app.conf.heimdall_unique_lock_blocking = False

if "FAKETIME_TIMESTAMP_FILE" in os.environ:
    # Python sleeps until a time of the monotonic clock, which libfaketime takes for one of the other clock.
    time.sleep = lambda seconds: select.select([], [], [], seconds) and None

RETRIES = {"autoretry_for": (Error,), "retry_backoff": 1, "retry_backoff_max": 4, "max_retries": 20}
LATE = {**RETRIES, "acks_late": True, "reject_on_worker_lost": True}


def charge(number: int, pause: float) -> None:
    """Leave two traces that belong together."""
    with open(os.environ["TASK_SAFETY_TEST_BEGUN"], "a") as file:
        file.write(f"{number:0{LINE - 1}}\n")
    Effect.objects.create(name="taken", key=str(number))
    time.sleep(pause)
    Effect.objects.create(name="booked", key=str(number))


def in_transaction(number: int, pause: float) -> None:
    with transaction.atomic():
        charge(number, pause)


def _redis(task: Task) -> Any:
    from redis import Redis

    return Redis.from_url(LOCKS)


def _library(module: str, base: str, **options: Any) -> Task | None:
    """Return the task on the base class of a library; None where that is not installed."""
    if find_spec(module) is None:
        return None
    bases = {"base": getattr(import_module(module), base)}
    if module == "celery_heimdall":
        bases["base"] = type("Heimdall", (bases["base"],), {"abstract": True, "setup_redis": _redis})
    return shared_task(name=module, **bases, **LATE, **options)(in_transaction)


@idempotent_task(key="number", retry_backoff_max=4, max_retries=20)
def safe(number: int, pause: float) -> None:
    charge(number, pause)


VARIANTS: dict[str, Task | None] = {
    "idempotent_task": safe,
    "plain, early ack": shared_task(name="early", **RETRIES)(in_transaction),
    "plain, late ack": shared_task(name="late", **LATE)(in_transaction),
    "celery-once": _library("celery_once", "QueueOnce", once={"graceful": True, "keys": ["number"]}),
    "celery-singleton": _library("celery_singleton", "Singleton", unique_on=["number"], lock_expiry=LOCK_EXPIRY),
    "celery-heimdall": _library(
        *("celery_heimdall", "HeimdallTask"),
        heimdall={"unique": True, "unique_timeout": LOCK_EXPIRY, "key": lambda args, kwargs: f"charge {args[0]}"},
    ),
}
