"""Tasks with a fault each, on the line that is marked, and tasks that may die anywhere."""

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

from celery import shared_task
from django.core.cache import cache
from django.db import IntegrityError, connection, transaction
from django.db.models import F

from django_task_safety import current_operation, idempotent_task, safe_task
from tests.testapp.models import Document, Effect, Order
from tests.testapp.tasks import plain, record
from tests.testing.repeated_tasks import _mail, _post


def _file() -> Path:
    return Path(os.environ["TASK_SAFETY_TEST_FILE"])


@shared_task(acks_late=True, reject_on_worker_lost=True)
def doubled(number):
    Order.objects.filter(number=number).update(charged=F("charged") + 250)  # fault


@shared_task
def lost_with_its_message(number):
    Effect.objects.create(name="charged", key=str(number))  # fault


@shared_task(acks_late=True, reject_on_worker_lost=True)
def half_done(number):
    if not Effect.objects.filter(name="first").exists():
        Effect.objects.create(name="first", key=str(number))  # fault
        Effect.objects.create(name="second", key=str(number))


@shared_task(acks_late=True, reject_on_worker_lost=True)
def marked_as_done_before_it_is(number):
    if Order.objects.filter(number=number, charged=0).update(charged=250):  # fault
        Effect.objects.create(name="charged", key=str(number))


@safe_task
def mails_before_the_commit(number):
    Order.objects.filter(number=number).update(charged=250)
    _mail()  # fault


@safe_task
def mails_only_after_the_commit(number):
    transaction.on_commit(_mail)  # fault
    Order.objects.filter(number=number).update(charged=250)


@safe_task(atomic=False)
def calls_without_a_key(number):
    _post()  # fault


@safe_task(atomic=False)
def calls_under_a_new_key_each_time(number):
    _post(**{"Idempotency-Key": os.urandom(8).hex()})  # fault


@safe_task
def appends_to_a_file(number):
    with _file().open("a") as file:  # fault
        file.write(f"charged {number}\n")
    Order.objects.filter(number=number).update(charged=250)


@safe_task
def counts_in_the_cache(number):
    cache.add("charged", 0)
    cache.incr("charged")  # fault


@safe_task
def remembers_in_the_cache(number):
    if cache.add("done", True):  # fault
        Order.objects.filter(number=number).update(charged=250)


@shared_task(acks_late=True, reject_on_worker_lost=True)
def locked_until_the_end(number):
    if not cache.add("lock", True):  # fault
        return
    try:
        Order.objects.filter(number=number).update(charged=250)
    finally:
        cache.delete("lock")


@safe_task
def in_another_database(number):
    Effect.objects.using("other").create(name="charged", key=str(number))  # fault


@shared_task(acks_late=True, reject_on_worker_lost=True)
def publishes_again(number):
    plain.delay(number)  # fault


@safe_task
def publishes_before_the_commit(number):
    Order.objects.filter(number=number).update(charged=250)
    plain.delay(number)  # fault


@shared_task(bind=True, autoretry_for=(ConnectionError,), acks_late=True, reject_on_worker_lost=True)
def mails_in_its_retry(self, number):
    if self.request.retries == 0:
        raise ConnectionError
    _mail()


@shared_task(acks_late=True, reject_on_worker_lost=True)
def swallows_the_error(number):
    with contextlib.suppress(IntegrityError):
        Order.objects.create(number=number + 1, amount=1)  # fault
        Effect.objects.create(name="charged", key=str(number))


@safe_task(atomic=False)
def commits_in_two_parts(number):
    with transaction.atomic():  # fault
        Order.objects.filter(number=number).update(charged=F("charged") + 100)
    with transaction.atomic():
        Order.objects.filter(number=number).update(charged=F("charged") + 150)


@safe_task
def charges_by_the_attempt(number):
    Order.objects.filter(number=number).update(charged=250 * current_operation().attempt)  # fault


@safe_task
def commits_by_hand(number):
    Order.objects.filter(number=number).update(charged=F("charged") + 250)
    with connection.cursor() as cursor:
        cursor.execute("COMMIT")  # fault
        cursor.execute("BEGIN")


@safe_task
def starts_a_thread(number):
    thread = threading.Thread(target=int)
    thread.start()  # fault
    thread.join()


@safe_task
def starts_a_process(number):
    subprocess.run([sys.executable, "-c", ""], check=True)  # fault


@safe_task
def commits_what_is_not_its_own(number):
    transaction.commit()


@safe_task
def adds_in_its_transaction(number):
    Order.objects.filter(number=number).update(charged=F("charged") + 250)
    with transaction.atomic():
        Effect.objects.create(name="charged", key=str(number))


@idempotent_task(key="number")
def enqueues_the_next(number):
    Order.objects.filter(number=number).update(charged=F("charged") + 250)
    record.delay("charged", number)


@safe_task(atomic=False)
def calls_under_the_operations_key(number):
    _post(**{"X-Request": current_operation().idempotency_key})
    Order.objects.filter(number=number).update(charged=250)


@shared_task(acks_late=True, reject_on_worker_lost=True)
def sets_what_is_right(number):
    Order.objects.filter(number=number).update(charged=250)
    cache.set("charged", 250)


@shared_task(acks_late=True, reject_on_worker_lost=True)
def asks_in_its_transaction(number):
    with transaction.atomic():
        if not Effect.objects.filter(name="charged").exists():
            Effect.objects.create(name="charged", key=str(number))
            Order.objects.filter(number=number).update(charged=F("charged") + 250)


@safe_task
def has_clocks_and_random_keys(number):
    Document.objects.create(title="charged")
    Effect.objects.create(name=os.urandom(4).hex(), key=str(number))


@shared_task(acks_late=True, reject_on_worker_lost=True)
def reads_from_another_system(number):
    _post(method="GET")
    Order.objects.filter(number=number).update(charged=250)


@safe_task
def notes_its_attempt(number):
    Effect.objects.create(name=f"attempt {current_operation().attempt}", key=str(current_operation().attempt))


@safe_task
def writes_a_whole_file(number):
    _file().write_text("charged")


@safe_task(max_retries=3, retry_backoff=1)
def is_retried(number):
    if current_operation().attempt == 1:
        raise ConnectionError
    Order.objects.filter(number=number).update(charged=F("charged") + 250)


FAULTY = {
    doubled: "~ testapp_order 700: charged 250 -> 500",
    lost_with_its_message: "- testapp_effect: ",
    half_done: "- testapp_effect: ",
    marked_as_done_before_it_is: "- testapp_effect: ",
    mails_before_the_commit: "+ mail: to ann@example.org: Charged",
    mails_only_after_the_commit: "- mail: to ann@example.org: Charged",
    calls_without_a_key: "+ call: POST /charge",
    calls_under_a_new_key_each_time: "under the idempotency key *",
    appends_to_a_file: "b'charged 7\\n' -> b'charged 7\\ncharged 7\\n'",
    counts_in_the_cache: "~ cache default/charged: value 1 -> 2",
    remembers_in_the_cache: "~ testapp_order 700: charged 250 -> 0",
    locked_until_the_end: "~ testapp_order 700: charged 250 -> 0",
    in_another_database: "+ other.testapp_effect: ",
    publishes_again: "+ message: tests.testapp.tasks.plain",
    publishes_before_the_commit: "+ message: tests.testapp.tasks.plain",
    swallows_the_error: "- testapp_effect: ",
    commits_in_two_parts: "~ testapp_order 700: charged 250 -> 350",
    charges_by_the_attempt: "~ testapp_order 700: charged 250 -> 500",
    commits_by_hand: "~ testapp_order 700: charged 250 -> 500",
    starts_a_thread: "is not followed",
    starts_a_process: "is not followed",
}
CORRECT = [
    adds_in_its_transaction,
    enqueues_the_next,
    calls_under_the_operations_key,
    sets_what_is_right,
    asks_in_its_transaction,
    has_clocks_and_random_keys,
    reads_from_another_system,
    notes_its_attempt,
    writes_a_whole_file,
    is_retried,
]
