"""Plain tasks of Celery, which have nothing but their message."""

from celery import group, shared_task
from django.db import IntegrityError, transaction
from django.db.models import F

from tests.testapp.models import Effect, Order
from tests.testing.planted.shop import call, index, mail

LATE = {"acks_late": True, "reject_on_worker_lost": True}


@shared_task
def acknowledged_early(number: int) -> None:
    order = Order.objects.get(number=number)  # fault: from here to the end the message is lost
    order.charged = order.amount
    order.save()


@shared_task(acks_late=True)
def lost_with_its_process(number: int) -> None:
    order = Order.objects.get(number=number)  # fault: a killed child is acknowledged without reject_on_worker_lost
    order.charged = order.amount
    order.save()


@shared_task(**LATE)
def counted_twice(number: int) -> None:
    Order.objects.filter(number=number).update(charged=F("charged") + 250)  # fault: nothing tells that it was done


@shared_task(**LATE)
def error_swallowed(number: int) -> str:
    try:
        order = Order.objects.create(number=number + 100, amount=1)  # fault: the next attempt takes this for all
        Effect.objects.create(name="receipt", key=str(order.number))
    except IntegrityError:
        return "done already"
    return "done"


@shared_task(bind=True, autoretry_for=(ConnectionError,), retry_backoff=True, **LATE)
def mail_of_the_first_try(self, number: int) -> None:
    if self.request.retries == 0:
        mail(f"Order {number} is being charged")  # fault: a message delivered again has tried nothing either
    call("charges", key=f"order-{number}")


@shared_task(bind=True, **LATE)
def asks_again_later(self, number: int) -> None:
    if self.request.retries == 0:
        raise self.retry(countdown=0)  # fault: the retry is published, and this message comes again
    Order.objects.filter(number=number).update(charged=F("amount"))


@shared_task(**LATE)
def mail_lost_behind_a_guard(number: int) -> None:
    with transaction.atomic():
        order = Order.objects.select_for_update().get(number=number)
        if order.charged:
            return
        order.charged = order.amount
        order.save()
        transaction.on_commit(lambda: mail(f"Order {number}"))  # fault: the next attempt returns before the mail


@shared_task(**LATE)
def group_published_twice(number: int) -> None:
    group(index.s(n) for n in range(2)).delay()  # fault: published again
    Order.objects.filter(number=number).update(charged=1)


TASKS = [
    acknowledged_early,
    lost_with_its_process,
    counted_twice,
    error_swallowed,
    mail_of_the_first_try,
    asks_again_later,
    mail_lost_behind_a_guard,
    group_published_twice,
]
