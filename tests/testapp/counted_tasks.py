"""Tasks on objects whose effects and compensations can be counted, and which end as the test says."""

from collections.abc import Callable
from typing import Any

from django_task_safety import KEEP, PROTECT, current_operation, idempotent_task, safe_task
from django_task_safety.models import Operation
from tests.testapp.models import Effect

#: Seconds until the attempt after one that ended with "retry".
RETRY_AFTER = 20.0
#: How many attempts each of the tasks has.
LIMIT = 2

#: How bodies end: "ok", "fail", "retry", or "delete" (their own object, and then well).
endings = ["ok"]


def _retry_after(exc: BaseException) -> float | bool:
    return RETRY_AFTER if isinstance(exc, ConnectionError) else False


_COMMON: dict[str, Any] = {"max_retries": LIMIT - 1, "retry_on": _retry_after}


def _body(obj: Any) -> None:
    Effect.objects.create(name=f"{obj._meta.label_lower} {obj.pk}", key=current_operation().idempotency_key)
    if endings[-1] == "fail":
        raise ValueError("no")
    if endings[-1] == "retry":
        raise ConnectionError("not now")
    if endings[-1] == "delete":
        obj.delete()


@safe_task(**_COMMON)
def plain(obj, number):
    _body(obj)


@idempotent_task(key=("obj", "number"), rerun="always", **_COMMON)
def again(obj, number):
    _body(obj)


@idempotent_task(key="number", lock="copy", **_COMMON)
def roams(obj, number):
    """The same key may come with another object."""
    _body(obj)


@idempotent_task(key=("obj", "number"), on_delete=PROTECT, **_COMMON)
def protects(obj, number):
    _body(obj)


@safe_task(on_delete=PROTECT, lock="copy", **_COMMON)
def locks(obj, number):
    _body(obj)


@idempotent_task(key=("obj", "number"), on_delete=KEEP, **_COMMON)
def keeps(obj, number):
    _body(obj)


TASKS: list[Any] = [plain, again, roams, protects, locks, keeps]


def compensate(operation: Operation, exc: BaseException) -> None:
    Effect.objects.create(name="compensated", key=operation.idempotency_key)


_register: Callable[[Any], Any]
for _task in TASKS:
    _task.compensate(compensate)
