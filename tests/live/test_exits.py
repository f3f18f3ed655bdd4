"""Real workers go on when tasks exit."""

import pytest

from django_task_safety.models import Operation
from tests.support.operations import state
from tests.support.workers import until
from tests.testapp.tasks import leaves, record

pytestmark = pytest.mark.django_db(transaction=True)

#: More than a worker takes from the broker before the first of them is acknowledged.
EXITS = 10


@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_a_worker_takes_messages_after_many_tasks_that_exit(start_worker, pool):
    start_worker("--prefetch-multiplier=2", pool=pool, concurrency=2)
    for _ in range(EXITS):
        leaves.delay()
    until(lambda: Operation.objects.filter(state="failed").count() == EXITS)
    after = record.enqueue("after")
    assert until(lambda: state(after) == Operation.State.SUCCEEDED)
