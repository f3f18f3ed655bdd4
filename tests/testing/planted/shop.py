"""What the tasks work with: another system, mail, and a folder."""

import json
import os
import urllib.request
from pathlib import Path

from celery import shared_task
from django.core.mail import EmailMessage

from django_task_safety import idempotent_task
from tests.testapp.models import Effect


def call(path: str, key: object = None, method: str = "POST", body: object = None) -> None:
    """Call the other system, which does once what comes under the same key."""
    url = f"http://127.0.0.1:{os.environ['TASK_SAFETY_TEST_PORT']}/{path}"
    headers = {} if key is None else {"Idempotency-Key": str(key)}
    data = json.dumps(body).encode() if method == "POST" else None
    with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=10) as answer:
        answer.read()


def mail(subject: str, to: str = "ann@example.org") -> None:
    EmailMessage(subject, "Thank you.", "shop@example.org", [to]).send()


def folder() -> Path:
    return Path(os.environ["TASK_SAFETY_TEST_FOLDER"])


@shared_task
def index(number: int) -> None:
    """What others ask for by a plain message."""


@idempotent_task(key="number")
def book(number: int) -> None:
    Effect.objects.create(name="booked", key=str(number))


@idempotent_task(key="number", atomic=False)
def confirm(number: int) -> None:
    """What others ask for by an operation."""
    mail(f"Order {number}")
