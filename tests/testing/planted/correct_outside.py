"""Calls, mails, messages, files and caches that bear a further attempt."""

import hashlib
import logging
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory

from celery import chain, shared_task
from django.core.cache import cache
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.db import transaction
from django.db.models import F

from django_task_safety import current_operation, idempotent_task, safe_task
from tests.testapp.models import Effect, Machine, Note, Order
from tests.testing.planted.faulty_plain import LATE
from tests.testing.planted.shop import book, call, confirm, folder


@idempotent_task(key="number")
def charged_under_the_operations_key(number: int) -> None:
    order = Order.objects.get(number=number)
    call("charges", key=current_operation().idempotency_key)
    order.charged = order.amount
    order.save()


@shared_task(bind=True, **LATE)
def charged_under_the_messages_id(self, number: int) -> None:
    call("charges", key=self.request.id)
    Order.objects.filter(number=number).update(charged=F("amount"))


@safe_task
def webhooks_under_keys_of_their_own(number: int) -> None:
    for note in Note.objects.order_by("pk")[:3]:
        call(f"hooks/{note.pk}", key=f"{current_operation().idempotency_key}-{note.pk}")
    Effect.objects.create(name="announced", key=str(number))


@safe_task
def key_in_the_body(number: int) -> None:
    call("queue", body={"order": number, "idempotency_key": current_operation().idempotency_key})
    Order.objects.filter(number=number).update(charged=F("amount"))


@safe_task
def only_asked_for(number: int) -> None:
    call("rates", method="GET")
    Order.objects.filter(number=number).update(charged=F("charged") + 250)


@safe_task
def mail_by_an_operation(number: int) -> None:
    order = Order.objects.get(number=number)
    confirm.delay(number)
    order.charged = order.amount
    order.save()


@safe_task
def operations_for_each_note(number: int) -> None:
    book.enqueue_many([(note.pk,) for note in Note.objects.order_by("pk")[:3]])
    Effect.objects.create(name="announced", key=str(number))


@safe_task
def chain_of_operations(number: int) -> None:
    Effect.objects.create(name="announced", key=str(number))
    chain(book.si(1), book.si(2)).delay()


@idempotent_task(key="number", atomic=False)
def file_replaced_when_it_is_whole(number: int) -> None:
    target, part = folder() / "export.csv", folder() / "export.csv.part"
    with part.open("w") as file:
        for note in Note.objects.order_by("pk"):
            file.write(f"{note.title}\n")
    part.replace(target)
    Effect.objects.get_or_create(name="exported", key=str(number))


@idempotent_task(key="number", atomic=False)
def inbox_deleted_after_the_commit(number: int) -> None:
    inbox = folder() / "inbox.csv"
    lines = inbox.read_text().split() if inbox.exists() else []
    for line in lines:
        Effect.objects.get_or_create(name="imported", key=line)
    inbox.unlink(missing_ok=True)


@safe_task
def works_in_a_temporary_folder(number: int) -> None:
    with TemporaryDirectory() as place:
        Path(place, "part.csv").write_text(f"{number}")
        Order.objects.filter(number=number).update(charged=F("amount"))


@safe_task
def upload_named_by_its_content(number: int) -> None:
    storage, content = FileSystemStorage(folder(), allow_overwrite=True), b"250"
    name = storage.save(f"{hashlib.sha256(content).hexdigest()}.txt", ContentFile(content))
    Note.objects.create(title=f"Report {number}", text=name)


@shared_task(**LATE)
def cache_emptied_by_each_delivery(number: int) -> None:
    with transaction.atomic():
        Order.objects.filter(number=number).update(charged=F("amount"))
        transaction.on_commit(lambda: cache.delete("order-7"))


@idempotent_task(key="number", atomic=False)
def cache_lock_of_the_operation(number: int) -> None:
    owner = str(current_operation().id)
    if not cache.add(f"lock-{number}", owner, 3600) and cache.get(f"lock-{number}") != owner:
        return
    Effect.objects.get_or_create(name="worked", key=str(number))
    cache.delete(f"lock-{number}")


@safe_task
def cache_filled_with_what_is_computed(number: int) -> None:
    order = Order.objects.get(number=number)
    cache.set("order-7", order.amount, 60)
    order.charged = order.amount
    order.save()
    Machine.objects.filter(name="idle").update(name="busy")


@safe_task
def file_replaced_under_a_random_name(number: int) -> None:
    new = folder() / f"{uuid.uuid4()}.tmp"
    new.write_text(str(number))
    new.replace(folder() / "export.csv")
    Order.objects.filter(number=number).update(charged=1)


@safe_task
def logged_to_a_file(number: int) -> None:
    log = logging.Logger("shop")
    log.addHandler(logging.FileHandler(folder() / "shop.log", delay=True))
    log.warning("Order %s is charged", number)
    Order.objects.filter(number=number).update(charged=1)


@safe_task
def cache_filled_by_get_or_set(number: int) -> None:
    rate = cache.get_or_set("rate", 2)
    Order.objects.filter(number=number).update(charged=F("amount") * rate)


TASKS = [
    charged_under_the_operations_key,
    charged_under_the_messages_id,
    webhooks_under_keys_of_their_own,
    key_in_the_body,
    only_asked_for,
    mail_by_an_operation,
    operations_for_each_note,
    chain_of_operations,
    file_replaced_when_it_is_whole,
    inbox_deleted_after_the_commit,
    works_in_a_temporary_folder,
    upload_named_by_its_content,
    cache_emptied_by_each_delivery,
    cache_lock_of_the_operation,
    cache_filled_with_what_is_computed,
    file_replaced_under_a_random_name,
    logged_to_a_file,
    cache_filled_by_get_or_set,
]
