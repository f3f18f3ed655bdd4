"""The task that is killed, the same for each backend."""

import time

from django_task_safety.backends.api import base
from tests.testapp.models import Effect


@base.task
def charge(number: int) -> None:
    """Write at once and once more later: whoever is killed in between leaves half a task."""
    Effect.objects.create(name="taken", key=str(number))
    time.sleep(0.05)
    Effect.objects.create(name="booked", key=str(number))
