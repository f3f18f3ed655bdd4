"""Tasks whose effects can be counted, and which end as they are told to."""

import os
from collections.abc import Sequence
from pathlib import Path

from celery import shared_task
from celery.exceptions import Ignore, Reject
from django.db import transaction
from django.db.models import F

from django_task_safety import current_operation, idempotent_task, safe_task
from django_task_safety.models import Operation
from tests.testapp.models import Effect, Order


def write(name: str, number: int) -> None:
    """What the tests count: a change and a new row."""
    Order.objects.filter(number=number).update(charged=F("charged") + 1)
    Effect.objects.create(name=name, key=str(number))


def end(how: str) -> None:
    """End a body in one of the ways there are."""
    if how == "fail":
        raise ValueError("declined")
    if how == "retry":
        raise ConnectionError("not now")
    if how == "ignore":
        raise Ignore("not wanted")
    if how == "reject":
        raise Reject("unreadable", requeue=False)


@idempotent_task(key="number")
def charge(number: int, endings: Sequence[str] = ("ok",), note_in: str = "") -> int:
    """Charge an order. Attempt 1 ends in the first way given, attempt 2 in the second, … and all others in the last.

    Returns:
        The number of the attempt.
    """
    attempt = current_operation().attempt
    if note_in:  # what no rollback takes back
        with Path(note_in).open("a") as notes:
            notes.write(f"{os.getpid()}\n")
    write("charge", number)
    end(endings[min(attempt, len(endings)) - 1])
    return attempt


@charge.compensate
def refund(operation: Operation, exc: BaseException) -> None:
    Effect.objects.create(name="refund", key=operation.key)


@idempotent_task(key="number", max_retries=0)
def charge_once(number: int) -> None:
    write("charge", number)


charge_once.compensate(refund)


@idempotent_task(key="number", atomic=False)
def charge_outside(number: int) -> None:
    """Commits its effects before it settles."""
    with transaction.atomic():
        write("charge", number)


@idempotent_task(key="number", on_duplicate="replace")
def charge_latest(number: int, amount: int) -> int:
    """Leave the newest amount."""
    Effect.objects.create(name=f"latest {amount}", key=str(number))
    return amount


@idempotent_task(key="number")
def thank(number: int) -> None:
    """The callback of a charge."""
    Effect.objects.create(name="thank", key=str(number))


# Its waits are longer than a busy machine takes from one step of a history to the next.
@idempotent_task(key="number", rerun="always", retry_backoff=10, retry_backoff_max=10)
def count(number: int) -> None:
    """Leave an effect under the idempotency key, which is another one for newer work."""
    Effect.objects.create(name=f"count {number}", key=current_operation().idempotency_key)
    end(OUTCOMES.get(number, "ok"))


#: How the attempts of `count` in this process end, by number.
OUTCOMES: dict[int, str] = {}


#: An amount that nobody can be charged.
DECLINED = -1


def in_chunks(number: int) -> str:
    """Return the title of a run of `charge_chunk`."""
    return f"Charge chunks of {number}"


@safe_task(max_retries=3, title="{title}")
def charge_chunk(pks: list[int], title: str) -> None:
    """Charge some orders."""
    for order in Order.objects.filter(pk__in=pks):
        if order.amount == DECLINED:
            raise ValueError("declined")
        write("chunk", order.number)


def _charge_plainly(number: int) -> None:
    with transaction.atomic():
        write("charge", number)


#: The same work without this package, as Celery's documentation has it.
charge_early = shared_task(name="tests.crash.tasks.charge_early", acks_late=False)(_charge_plainly)
charge_late = shared_task(name="tests.crash.tasks.charge_late", acks_late=True)(_charge_plainly)
