"""Tasks that may be done again, and tasks that may not."""

import http.client
import os

from celery import shared_task
from django.core.cache import cache
from django.core.mail import EmailMessage
from django.core.mail.backends.locmem import EmailBackend
from django.db.models import F
from django.utils import timezone

from django_task_safety import current_operation, idempotent_task, safe_task
from tests.testapp.models import Effect, Order
from tests.testapp.tasks import plain


def _post(path: str = "/charge", method: str = "POST", **headers: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ["TASK_SAFETY_TEST_PORT"]))
    try:
        connection.request(method, path, body=b"7", headers=headers)
        connection.getresponse().read()
    finally:
        connection.close()


def _mail() -> None:
    EmailBackend().send_messages([EmailMessage("Charged", "250", "shop@example.org", ["ann@example.org"])])


@shared_task
def increments(number: int) -> None:
    Order.objects.filter(number=number).update(charged=F("charged") + 250)


@safe_task
def increments_for_each_call(number: int) -> None:
    Order.objects.filter(number=number).update(charged=F("charged") + 250)


@idempotent_task(key="moment")
def under_a_key_of_its_own(number: int, moment: str | None = None) -> None:
    Effect.objects.create(name="charged", key=str(number))


@shared_task
def inserts(number: int) -> None:
    Effect.objects.create(name="charged", key=str(number))


@shared_task
def deletes_one(number: int) -> None:
    Effect.objects.filter(pk=Effect.objects.order_by("pk").values("pk")[:1]).delete()


@shared_task
def sends_mail(number: int) -> None:
    _mail()


@shared_task
def calls_out(number: int) -> None:
    _post()


@shared_task
def calls_out_under_a_new_key(number: int) -> None:
    _post(**{"Idempotency-Key": os.urandom(8).hex()})


@shared_task
def counts_in_the_cache(number: int) -> None:
    cache.add("charged", 0)
    cache.incr("charged")


@shared_task
def publishes(number: int) -> None:
    plain.delay(number)


@shared_task
def fails_when_repeated(number: int) -> None:
    Order.objects.create(number=number + 1, amount=1)


@shared_task
def in_another_database(number: int) -> None:
    Effect.objects.using("other").create(name="charged", key=str(number))


@idempotent_task(key="number")
def charges_under_its_key(number: int) -> None:
    Order.objects.filter(number=number).update(charged=F("charged") + 250)
    _mail()


@shared_task
def sets(number: int) -> None:
    Order.objects.filter(number=number).update(charged=250)


@shared_task
def asks_whether_it_is_done(number: int) -> None:
    if not Effect.objects.filter(key=str(number)).exists():
        Effect.objects.create(name="charged", key=str(number))
        _mail()


@shared_task
def calls_under_its_key(number: int) -> None:
    _post(**{"Idempotency-Key": f"charge-{number}"})


@safe_task(atomic=False)
def calls_under_the_operations_key(number: int) -> None:
    _post(**{"X-Request": current_operation().idempotency_key}) if number else None


@shared_task
def only_reads(number: int) -> None:
    Order.objects.get(number=number)
    _post(method="GET")


@shared_task
def caches_what_it_found(number: int) -> None:
    cache.set("amount", Order.objects.get(number=number).amount)


@shared_task
def gets_or_creates(number: int) -> None:
    Effect.objects.get_or_create(name="charged", key=str(number), defaults={"created": timezone.now()})


@idempotent_task(key="number")
def publishes_under_its_key(number: int) -> None:
    plain.delay(number)


FAULTY = {
    increments: "~ testapp_order 1000000: charged 250 -> 500",
    increments_for_each_call: "~ testapp_order 1000000: charged 250 -> 500",
    inserts: "+ testapp_effect: id=",
    deletes_one: "- testapp_effect: id=",
    sends_mail: "mail: to ann@example.org: Charged 250 again",
    calls_out: "call: POST /charge HTTP/1.1",
    calls_out_under_a_new_key: "call: 127.0.0.1:",
    counts_in_the_cache: "~ cache default, 'charged': 1 -> 2",
    publishes: "message: tests.testapp.tasks.plain",
    fails_when_repeated: "raises IntegrityError",
    in_another_database: "+ other.testapp_effect: id=",
}
CORRECT = [
    charges_under_its_key,
    sets,
    asks_whether_it_is_done,
    calls_under_its_key,
    only_reads,
    caches_what_it_found,
    gets_or_creates,
    publishes_under_its_key,
]
