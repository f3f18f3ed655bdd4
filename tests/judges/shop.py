"""A shop as the judges see it: a task, safe and plain, and a bank elsewhere."""

import uuid
from functools import partial

from celery import shared_task
from django.db import transaction

from django_task_safety import current_operation, safe_task
from tests.testapp.models import Effect, Order


class Bank:
    """A system elsewhere: what was asked of it under each key."""

    charges: list[str] = []

    @classmethod
    def charge(cls, key: str) -> None:
        cls.charges.append(key)


@safe_task(name="tests.judges.shop.collect", max_retries=5)
def collect(order: Order) -> None:
    Order.objects.filter(pk=order.pk).update(charged=1)
    Bank.charge(current_operation().idempotency_key)
    Effect.objects.create(name="collected", key=str(order.pk))


@shared_task(name="tests.judges.shop.plain_collect")
def plain_collect(pk: int) -> None:
    Order.objects.filter(pk=pk).update(charged=1)
    Bank.charge(str(uuid.uuid4()))
    Effect.objects.create(name="collected", key=str(pk))


def ask(instance: Order, **kwargs: object) -> None:
    """Receiver of ``post_save``: ask for the task in the transaction that writes the order."""
    collect.enqueue(instance)


def ask_plainly(instance: Order, **kwargs: object) -> None:
    transaction.on_commit(partial(plain_collect.delay, instance.pk))
