"""One task over many rows, whose workers are killed."""

import pytest

from django_task_safety import split
from django_task_safety.models import Operation
from tests.support.factories import OrderFactory
from tests.support.workers import until
from tests.testapp.models import Effect, Order
from tests.testapp.tasks import charge_chunk

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]


@pytest.mark.parametrize("broker", ["embedded", "redis"], indirect=True)
def test_chunks_survive_their_workers_and_the_parent_ends_with_the_last(start_worker):
    orders = OrderFactory.create_batch(60)
    parent = split(Order.objects.all(), 5, charge_chunk)
    for goal in (10, 30):
        worker = start_worker()
        until(lambda goal=goal: Effect.objects.filter(name="booked").count() >= goal, pause=0.01)
        worker.kill()
    assert Operation.objects.get(pk=parent.pk).is_pending
    start_worker()
    until(lambda: not Operation.objects.pending().exists(), timeout=60)
    parent.refresh_from_db()
    assert (parent.state, parent.progress) == ("succeeded", 1)
    expected = sorted((name, str(order.pk)) for order in orders for name in ("booked", "taken"))
    assert sorted(Effect.objects.values_list("name", "key")) == expected
