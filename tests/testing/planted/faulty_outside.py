"""Safe tasks that do something outside the transaction which a further attempt does again, or never does."""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

from django.core.mail import send_mail
from django.db import transaction
from django.db.models import F

from django_task_safety import current_operation, idempotent_task, safe_task
from tests.testapp.models import Effect, Machine, Note, Order
from tests.testing.planted.shop import call, index, mail


@safe_task
def charge_before_the_commit(number: int) -> None:
    order = Order.objects.get(number=number)
    call("charges")  # fault: charged again if this attempt does not commit
    order.charged = order.amount
    order.save()


@idempotent_task(key="number")
def mail_before_the_commit(number: int) -> None:
    order = Order.objects.get(number=number)
    Effect.objects.create(name="confirmed", key=str(number))
    send_mail(f"Order {order}", "Confirmed.", "shop@example.org", ["ann@example.org"])  # fault: mailed again
    order.charged = 1
    order.save(update_fields=["charged"])


@idempotent_task(key="number")
def random_key(number: int) -> None:
    order = Order.objects.get(number=number)
    call("charges", key=uuid.uuid4())  # fault: each attempt has another key
    Order.objects.filter(pk=order.pk).update(charged=order.amount)


@idempotent_task(key="number")
def key_from_the_clock(number: int) -> None:
    key = f"{number}-{time.time_ns()}"
    call("charges", key=key)  # fault: each attempt has another key
    Order.objects.filter(number=number).update(charged=F("amount"))


@idempotent_task(key="number")
def key_of_the_attempt(number: int) -> None:
    operation = current_operation()
    call("charges", key=f"{number}-{operation.attempt}")  # fault: each attempt has another key
    Order.objects.filter(number=number).update(charged=F("amount"))


@idempotent_task(key="number")
def operations_key_and_the_attempt(number: int) -> None:
    operation = current_operation()
    call("charges", key=f"{operation.id}-{operation.attempt}")  # fault: the first part alone would be one key


@idempotent_task(key="number", atomic=False)
def key_from_what_is_there(number: int) -> None:
    key = f"{number}-{Effect.objects.filter(name='charge').count() + 1}"
    Effect.objects.create(name="charge", key=key)  # fault: the next attempt counts it and takes another key
    call("charges", key=key)
    Order.objects.filter(number=number).update(charged=F("amount"))


@idempotent_task(key="number")
def other_content_under_the_same_key(number: int) -> None:
    token = str(uuid.uuid4())
    call("tokens", key=number, body=token)  # fault: the other side keeps this one, the next attempt writes another
    Effect.objects.create(name="token", key=token)


@safe_task
def webhook_of_each_subscriber(number: int) -> None:
    order = Order.objects.get(number=number)
    for note in Note.objects.order_by("pk")[:3]:
        call(f"hooks/{note.pk}/{order.number}")  # fault: no key, so that subscribers hear it twice
    Effect.objects.create(name="announced", key=str(number))


@idempotent_task(key="number", atomic=False)
def guarded_call_without_a_key(number: int) -> None:
    order = Order.objects.get(number=number)
    if order.charged:
        return
    call("charges")  # fault: a death before the save is a second charge
    order.charged = order.amount
    order.save(update_fields=["charged"])


@safe_task
def publishes_before_the_commit(number: int) -> None:
    note = Note.objects.create(title=f"Order {number}")
    index.delay(number)  # fault: the message is out, and goes out again
    note.copies = 1
    note.save()


@safe_task
def mail_lost_after_the_commit(number: int) -> None:
    order = Order.objects.get(number=number)
    transaction.on_commit(lambda: mail(f"Order {order.number}"))  # fault: after the commit nothing knows of the mail
    order.charged = order.amount
    order.save()


@safe_task
def message_lost_after_the_commit(number: int) -> None:
    Effect.objects.create(name="indexing", key=str(number))
    index.delay_on_commit(number)  # fault: after the commit nothing knows of the message


@safe_task
def mail_from_a_signal(number: int) -> None:
    machine = Machine.objects.get(name="idle")
    machine.name = "busy"
    machine.save()  # fault: a receiver of post_save sends a mail before the commit
    Effect.objects.create(name="started", key=str(number))


@safe_task
def calls_from_threads(number: int) -> None:
    Effect.objects.create(name="called", key=str(number))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(call, ["hooks/1", "hooks/2"]))  # fault: called again, from where nobody follows


TASKS = [
    charge_before_the_commit,
    mail_before_the_commit,
    random_key,
    key_from_the_clock,
    key_of_the_attempt,
    operations_key_and_the_attempt,
    key_from_what_is_there,
    other_content_under_the_same_key,
    webhook_of_each_subscriber,
    guarded_call_without_a_key,
    publishes_before_the_commit,
    mail_lost_after_the_commit,
    message_lost_after_the_commit,
    mail_from_a_signal,
    calls_from_threads,
]
