"""A process with Sentry, which patches Celery for good; prints the events that it would send."""

import json
import sys
from contextlib import suppress
from typing import Any

import django
import sentry_sdk
from django.db import transaction
from sentry_sdk.integrations.celery import CeleryIntegration
from sentry_sdk.integrations.django import DjangoIntegration

django.setup()

from django_task_safety import safe_task  # noqa: E402
from django_task_safety.values.masking import mask_all  # noqa: E402
from django_task_safety.worker import sweeper  # noqa: E402
from tests.support.delivering import local_worker  # noqa: E402

events: list[Any] = []


class Sent(sentry_sdk.Transport):
    def capture_envelope(self, envelope: Any) -> None:
        events.append(envelope.get_event() or envelope.get_transaction_event())


@safe_task(name="pays", redact=["card"], max_retries=0)
def pays(order: int, card: str) -> None:
    copied = card
    raise ValueError(f"{copied} was refused")


@safe_task(name="works")
def works() -> None: ...


def main() -> None:
    sentry_sdk.init(
        dsn="http://key@sentry.invalid/1",
        transport=Sent,
        traces_sample_rate=1.0,
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[CeleryIntegration(), DjangoIntegration()],
        before_send=lambda event, hint: mask_all(event),
    )
    worker = local_worker()
    with sentry_sdk.start_transaction(name="request"), transaction.atomic():
        works.delay()
    worker.take()
    worker.pass_time(61)
    sweeper.sweep()
    pays.delay(7, "4111-1111")
    with suppress(ValueError):
        worker.drain()
    json.dump(events, sys.stdout, default=str)


if __name__ == "__main__":
    main()
