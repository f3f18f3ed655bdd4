"""Real workers keep their connection between safe tasks, where the project says so."""

import json
import os

import pytest
from django.db import connection

from django_task_safety.models import Operation
from tests.support.workers import until
from tests.testapp.models import Effect
from tests.testapp.tasks import connected

pytestmark = pytest.mark.django_db(transaction=True)

CALLS = 5


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "gevent"], indirect=True)
@pytest.mark.parametrize("max_age", [600, 0])
def test_conn_max_age_decides_what_is_kept_except_in_greenlets(start_worker, pool, quick, max_age, monkeypatch):
    if connection.vendor == "sqlite":
        pytest.skip("SQLite's connections are not kept")
    database = {**json.loads(os.environ["TASK_SAFETY_TEST_DATABASE"]), "CONN_MAX_AGE": max_age}
    monkeypatch.setenv("TASK_SAFETY_TEST_DATABASE", json.dumps(database))
    start_worker(pool=pool, concurrency=1)
    connected.enqueue_many([()] * CALLS)
    until(lambda: not Operation.objects.pending().exists())
    seen = set(Effect.objects.filter(name="connected").values_list("key", flat=True))
    assert len(seen) == (1 if max_age and pool != "gevent" else CALLS)
