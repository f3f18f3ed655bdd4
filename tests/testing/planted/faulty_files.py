"""Tasks whose files and caches know of what the database has not committed, or the other way round."""

import gzip
from tempfile import NamedTemporaryFile

from django.core.cache import cache
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.db import transaction
from django.utils import timezone

from django_task_safety import idempotent_task, safe_task
from tests.testapp.models import Effect, Note, Order
from tests.testing.planted.shop import folder


@safe_task
def line_in_a_file(number: int) -> None:
    order = Order.objects.get(number=number)
    with open(folder() / "ledger.csv", "a") as file:  # fault: what is written when it is closed is written again
        file.write(f"{order.number};{order.amount}\n")
    order.charged = order.amount
    order.save()


@safe_task
def line_in_a_zipped_file(number: int) -> None:
    with gzip.open(folder() / "ledger.csv.gz", "at") as file:  # fault: written when it is closed, and again
        file.write(f"{number}\n")
    Order.objects.filter(number=number).update(charged=1)


@idempotent_task(key="number", atomic=False)
def inbox_renamed_first(number: int) -> None:
    inbox, taken = folder() / "inbox.csv", folder() / "taken.csv"
    if not inbox.exists():
        return
    inbox.rename(taken)  # fault: the next attempt finds no inbox
    for line in taken.read_text().split():
        Effect.objects.get_or_create(name="imported", key=line)


@safe_task
def file_deleted_before_the_commit(number: int) -> None:
    inbox = folder() / "inbox.csv"
    lines = inbox.read_text().split() if inbox.exists() else []
    Effect.objects.bulk_create([Effect(name="imported", key=line) for line in lines])
    inbox.unlink(missing_ok=True)  # fault: gone, and what was in it is rolled back
    Order.objects.filter(number=number).update(charged=1)


@idempotent_task(key="number", atomic=False)
def half_a_file_taken_for_all(number: int) -> None:
    target = folder() / "export.csv"
    if not target.exists():
        with target.open("w") as file:  # fault: the file is there, and not all of it is in it
            for note in Note.objects.order_by("pk"):
                file.write(f"{note.title}\n")
    Effect.objects.get_or_create(name="exported", key=str(number))


@safe_task
def half_written_taken_for_all(number: int) -> None:
    target = folder() / "export.csv"
    if not target.exists():
        target.write_text("n1\nn2\n" * 1000)  # fault: a death between its opening and its closing is never mended
    Effect.objects.create(name="exported", key=str(number))


@safe_task
def upload_under_a_new_name(number: int) -> None:
    storage = FileSystemStorage(folder())
    name = storage.save("report.txt", ContentFile(b"250"))  # fault: the name is taken, so another one is chosen
    Note.objects.create(title=f"Report {number}", text=name)


@safe_task
def another_file_in_a_spool(number: int) -> None:
    with NamedTemporaryFile(dir=folder(), delete=False):  # fault: a printer takes each
        Order.objects.filter(number=number).update(charged=1)


@safe_task
def counter_in_a_cache(number: int) -> None:
    cache.set("orders", 0, None) if cache.get("orders") is None else None
    cache.incr("orders")  # fault: counted again
    Order.objects.filter(number=number).update(charged=1)


@safe_task
def stamped_list_in_a_cache(number: int) -> None:
    seen = cache.get("seen", [])
    cache.set("seen", [*seen, str(timezone.now())], None)  # fault: appended again
    Order.objects.filter(number=number).update(charged=1)


@idempotent_task(key="number", atomic=False)
def cache_lock_that_leaks(number: int) -> None:
    if not cache.add(f"lock-{number}", 1, 3600):  # fault: nobody takes it away for an hour
        return
    try:
        Effect.objects.get_or_create(name="worked", key=str(number))
    finally:
        cache.delete(f"lock-{number}")


@safe_task
def cache_knows_before_the_commit(number: int) -> None:
    if cache.get(f"seen-{number}"):
        return
    cache.set(f"seen-{number}", True, None)  # fault: the next attempt takes it for done
    Effect.objects.create(name="seen", key=str(number))


@safe_task
def cache_not_emptied_after_the_commit(number: int) -> None:
    order = Order.objects.get(number=number)
    order.charged = order.amount
    order.save()
    transaction.on_commit(lambda: cache.delete("order-7"))  # fault: after the commit nothing knows what is stale


TASKS = [
    line_in_a_file,
    line_in_a_zipped_file,
    inbox_renamed_first,
    file_deleted_before_the_commit,
    half_a_file_taken_for_all,
    half_written_taken_for_all,
    upload_under_a_new_name,
    another_file_in_a_spool,
    counter_in_a_cache,
    stamped_list_in_a_cache,
    cache_lock_that_leaks,
    cache_knows_before_the_commit,
    cache_not_emptied_after_the_commit,
]
