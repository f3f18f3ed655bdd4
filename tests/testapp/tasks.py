"""Tasks that do something worth doing once, and can be told to go wrong."""

import os
import signal
import sys
import time

from celery import Task, shared_task
from celery.exceptions import Ignore, Reject
from django.db import connection, transaction
from django.db.models import F

from django_task_safety import current_operation, idempotent_task, safe_task, track
from tests.testapp.models import Effect, Note, Order


def effect(name: str, key: object = "") -> None:
    Effect.objects.create(name=name, key=str(key))


@idempotent_task(key="number")
def charge(number: int, amount: int = 1) -> int:
    Order.objects.filter(number=number).update(charged=F("charged") + amount)
    effect("charge", number)
    return amount


@safe_task
def record(name: str, key: object = "") -> str:
    effect(name, key)
    return name


@safe_task
def copy_note(note: Note, copies: int = 1) -> int:
    Note.objects.bulk_create([Note(title=f"{note.title} {n}", text=note.text) for n in range(copies)])
    return copies


@safe_task(bind=True, max_retries=3, retry_backoff=0.1)
def act(self, action: str, key: object = "", **details: object) -> object:
    """Write an effect, then do what ``action`` says."""
    effect(action, key)
    return ACTIONS[action](self, **details)


def _flaky(self, until=3, **details):
    if self.request.retries + 1 < until:
        raise ConnectionError("not yet")
    return self.request.retries + 1


def _raise(self, message="no", **details):
    raise ValueError(message)


def _sleep(self, seconds=1.0, **details):
    time.sleep(seconds)
    return "slept"


def _tracked(self, items=50, pause=0.1, **details):
    for _ in track(range(items)):
        time.sleep(pause)
    return items


def _kill(self, until=2, **details):
    if current_operation().attempt < until:
        os.kill(os.getpid(), signal.SIGKILL)
    return current_operation().attempt


def _ignore(self, **details):
    raise Ignore("nothing to do")


def _reject(self, **details):
    raise Reject("cannot", requeue=False)


def _retry(self, countdown=0.1, **details):
    if self.request.retries < 2:
        raise self.retry(countdown=countdown)
    return self.request.retries


def _replace(self, **details):
    raise self.replace(record.si("replacement"))


ACTIONS = {
    "ok": lambda self, **details: details or None,
    "flaky": _flaky,
    "raise": _raise,
    "sleep": _sleep,
    "tracked": _tracked,
    "kill": _kill,
    "ignore": _ignore,
    "reject": _reject,
    "retry": _retry,
    "replace": _replace,
}


@idempotent_task(key="key")
def slow(key: str, seconds: float = 1.0) -> str:
    time.sleep(seconds)
    effect("slow", key)
    return key


@idempotent_task(key="n")
def double(n: int) -> int:
    effect("double", n)
    return 2 * n


@idempotent_task
def add(a: int, b: int = 0) -> int:
    effect("add", (a, b))
    return a + b


@safe_task
def total(numbers: list[int]) -> int:
    effect("total", numbers)
    return sum(numbers)


@safe_task
def connected() -> None:
    """Write down which of the server's connections this is."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()" if connection.vendor == "postgresql" else "SELECT CONNECTION_ID()")
        effect("connected", cursor.fetchone()[0])


@shared_task
def plain(value: object, key: object = "") -> object:
    effect("plain", key or value)
    return value


def _work(n: int) -> int:
    """What a small real task does: read, change, and write something, in a transaction."""
    with transaction.atomic():
        order, _ = Order.objects.get_or_create(number=n % 100, defaults={"amount": 1})
        order.charged += 1
        order.save(update_fields=["charged"])
        effect("bench", n)
    return n


@shared_task(acks_late=True)
def bench_plain(n: int) -> int:
    return _work(n)


@safe_task
def bench_safe(n: int) -> int:
    return _work(n)


@idempotent_task(key="n")
def bench_idempotent(n: int) -> int:
    return _work(n)


@idempotent_task(key="n")
def bench_long(n: int) -> int:
    time.sleep(10)
    return n


def _charge_slowly(number: int, pause: float) -> None:
    """Write at once and once more later: whoever is killed in between leaves half a task."""
    effect("taken", number)
    time.sleep(pause)
    effect("booked", number)


@shared_task(acks_late=True)
def plain_charge_slowly(number: int, pause: float = 0.05) -> None:
    _charge_slowly(number, pause)


@idempotent_task(key="number")
def charge_slowly(number: int, pause: float = 0.05) -> None:
    _charge_slowly(number, pause)


@safe_task
def charge_chunk(pks: list[int], pause: float = 0.02) -> None:
    for pk in pks:
        _charge_slowly(pk, pause)


@safe_task(max_retries=1)
def poison() -> None:
    effect("poison")
    os.kill(os.getpid(), signal.SIGKILL)


@safe_task(time_limit=2, soft_time_limit=None, atomic=False)
def endless() -> None:
    time.sleep(60)
    effect("endless")


class SlowToStart(Task):
    abstract = True

    def before_start(self, *args: object) -> None:
        time.sleep(1.0)


@safe_task(base=SlowToStart, time_limit=2, soft_time_limit=None, atomic=False)
def endless_after_a_slow_start() -> None:
    time.sleep(60)
    effect("endless")


@safe_task(time_limit=30, soft_time_limit=1, retry_on=Exception)
def overlong() -> None:
    effect("overlong")
    time.sleep(60)


def _watch(items: int) -> None:
    for _ in track(range(items)):
        time.sleep(0.1)
    effect("watched")


@safe_task
def watched(items: int = 600) -> None:
    _watch(items)


@safe_task(atomic=False)
def watched_outside(items: int = 600) -> None:
    _watch(items)


@safe_task(max_retries=0)
def leaves() -> None:
    """Try to end its process."""
    sys.exit(3)
