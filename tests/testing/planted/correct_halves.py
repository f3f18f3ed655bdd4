"""Writes that are one commit, or of which each half bears a repetition."""

from celery import shared_task
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from django_task_safety import idempotent_task, safe_task
from tests.testapp.models import Country, Effect, Note, Order
from tests.testing.planted.faulty_plain import LATE


@safe_task
def flag_and_work_in_one_commit(number: int) -> None:
    note = Note.objects.get(title="n1")
    note.text = f"published {timezone.now()}"
    note.save()
    Order.objects.filter(number=number).update(charged=F("charged") + 1)
    Effect.objects.create(name="published", key=str(number))


@safe_task
def stamped_to_the_second(number: int) -> None:
    now = timezone.now()
    Note.objects.filter(title="n1").update(text=f"published {now:%Y-%m-%d %H:%M:%S}")
    Order.objects.filter(number=number).update(charged=F("charged") + 1)


@shared_task(**LATE)
def guarded_in_its_transaction(number: int) -> None:
    with transaction.atomic():
        order = Order.objects.select_for_update().get(number=number)
        if order.charged:
            return
        order.charged = order.amount
        order.save()
        Effect.objects.create(name="receipt", key=str(number))


@idempotent_task(key="number", atomic=False)
def flag_after_the_work(number: int) -> None:
    note = Note.objects.get(title="n1")
    if note.text != "published":
        Effect.objects.update_or_create(name="published", key=str(number))
        note.text = "published"
        note.save()


@idempotent_task(key="number", atomic=False)
def copied_before_it_is_deleted(number: int) -> None:
    notes = Note.objects.filter(title__in=["n1", "n2"]).order_by("pk")
    for note in list(notes):
        Effect.objects.get_or_create(name="archived", key=note.title)
        note.delete()


@idempotent_task(key="number", atomic=False)
def checkpoint_with_its_chunk(number: int) -> None:
    start = Order.objects.get(number=number).charged
    for offset in range(start, 4, 2):
        chunk = Note.objects.order_by("pk")[offset : offset + 2]
        with transaction.atomic():
            Effect.objects.bulk_create([Effect(name="copied", key=note.title) for note in chunk])
            Order.objects.filter(number=number).update(charged=offset + 2)


@shared_task(**LATE)
def error_that_means_all_is_done(number: int) -> None:
    try:
        with transaction.atomic():
            order = Order.objects.create(number=number + 100, amount=1)
            Effect.objects.create(name="receipt", key=str(order.number))
    except IntegrityError:
        return


@safe_task
def other_database_by_its_key(number: int) -> None:
    order = Order.objects.get(number=number)
    Country.objects.using("other").update_or_create(code=f"c{number}")
    order.charged = F("charged") + 1
    order.save()


def transfer_in_one_transaction() -> None:
    """What a script from cron does, and does again."""
    with transaction.atomic():
        _, new = Effect.objects.get_or_create(name="transfer", key="7-8")
        if new:
            Order.objects.filter(number=7).update(amount=F("amount") - 50)
            Order.objects.filter(number=8).update(amount=F("amount") + 50)


TASKS = [
    flag_and_work_in_one_commit,
    stamped_to_the_second,
    guarded_in_its_transaction,
    flag_after_the_work,
    copied_before_it_is_deleted,
    checkpoint_with_its_chunk,
    error_that_means_all_is_done,
    other_database_by_its_key,
    transfer_in_one_transaction,
]
