"""Django's own Tasks in a real worker of Celery's, also where its child is killed."""

import pytest
from django.conf import settings

from tests.support.workers import until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not hasattr(settings, "TASKS"), reason="there are no Tasks"),
]


def test_it_runs_in_every_pool_and_its_result_is_read_from_the_row(start_worker, pool):
    from tests.testapp import django_tasks

    start_worker(pool=pool)
    result, told = django_tasks.add.enqueue(1, b=2), django_tasks.tell.enqueue("hello")
    until(lambda: result.refresh() or told.refresh() or (result.is_finished and told.is_finished))
    assert (result.return_value, told.return_value) == (3, ["hello", 1, told.id])


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
def test_where_its_worker_is_killed_it_runs_again_and_has_its_effect_once(start_worker):
    from tests.testapp import django_tasks
    from tests.testapp.models import Effect

    start_worker()
    result = django_tasks.killed_once.enqueue()
    until(lambda: result.refresh() or result.is_finished, timeout=45)
    assert (result.return_value, result.attempts) == (2, 2)
    assert Effect.objects.filter(name="killed_once").count() == 1
