"""frontrun lets two threads take their steps in each order that matters: ``frontrun pytest tests/judges``."""

import uuid
from typing import Any

import pytest
from django.db import connection
from frontrun.contrib.django import django_dpor

from django_task_safety import ledger
from tests.testapp.models import Order
from tests.testapp.tasks import record

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(300),
    # It leaves connections of its threads open.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
LIMITS = {"timeout_per_run": 30, "total_timeout": 120, "reproduce_on_failure": 0, "warn_nondeterministic_sql": False}


def explored(setup: Any, work: Any, holds: Any) -> Any:
    return django_dpor(setup, threads=[work, work], invariant=holds, trace_packages=[], **LIMITS)


def claim(state: dict[str, Any]) -> None:
    with connection.cursor() as cursor:  # who waits for a lock would keep the other thread waiting too
        cursor.execute("SET lock_timeout = '500ms'")
    state["claimed"] += [ledger.claim(state["pk"], f"judge-{uuid.uuid4()}", 30, None).claimed]


def test_of_two_claims_one_wins_in_each_order():
    def queued() -> dict[str, Any]:
        return {"pk": record.enqueue(str(uuid.uuid4())).pk, "claimed": []}

    result = explored(queued, claim, lambda state: sorted(state["claimed"]) == [False, True])
    result.assert_holds()
    assert result.num_explored > 2


def test_the_judge_finds_a_lost_update():
    def charge(pk: int) -> None:
        row = Order.objects.get(pk=pk)
        row.charged += 1
        row.save()

    def order() -> int:
        return Order.objects.create(number=Order.objects.count(), amount=1).pk

    result = explored(order, charge, lambda pk: Order.objects.get(pk=pk).charged == 2)
    assert result.property_holds is False
