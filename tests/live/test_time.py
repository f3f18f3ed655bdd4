"""Countdowns, ETAs and waits that stay in the database."""

import pytest

from django_task_safety.models import Operation
from tests.support.workers import until
from tests.testapp.tasks import record

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
def test_a_worker_waits_for_a_countdown(start_worker):
    start_worker()
    record.delay("warm-up")
    until(lambda: not Operation.objects.pending().exists())
    result = record.apply_async(("later",), countdown=3)
    operation = until(lambda: Operation.objects.filter(pk=result.id, state="succeeded").first())
    waited = operation.started_at - operation.created_at
    assert waited.total_seconds() >= 3.0
