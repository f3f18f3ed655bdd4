"""An action of the admin on 100,000 operations, of which some end meanwhile."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from django_task_safety.admin import bulk
from django_task_safety.models import Operation
from django_task_safety.record import State
from tests.support.rows import operations

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]
LIST = reverse("admin:django_task_safety_operation_changelist")


@pytest.fixture
def many(large) -> int:
    return 100_000 if large else 5_000


@pytest.fixture
def asked(worker, transactional_db, many) -> Operation:
    """Somebody has confirmed to cancel all that wait."""
    for _ in range(many // 5_000):
        operations(5_000, State.QUEUED, task="many")
    client = Client()
    client.force_login(User.objects.create_superuser("admin"))
    one = Operation.objects.first()
    data = {"action": "cancel_selected", "select_across": "1", "_selected_action": [str(one.pk)]}
    answer = client.post(f"{LIST}?state=queued&task=many", {**data, "post": "yes", "reason": "too many"})
    assert answer.status_code == 302
    return Operation.objects.get(task=bulk.act_on_all.name)


def test_an_action_on_very_many_does_all_and_says_which_had_ended_meanwhile(asked, worker, many, monkeypatch):
    act, seen = bulk.acting.act, []

    def some_end_meanwhile(*arguments):
        """Some run, from the newest, while the action comes from the oldest."""
        queued = Operation.objects.filter(task="many", state=State.QUEUED).order_by("-created_at")
        newest = list(queued.values_list("pk", flat=True)[:30])
        Operation.objects.filter(pk__in=newest).update(state=State.SUCCEEDED)
        seen.append(Operation.objects.get(pk=asked.pk).progress)
        return act(*arguments)

    monkeypatch.setattr(bulk.acting, "act", some_end_meanwhile)
    worker.drain()
    asked.refresh_from_db()
    assert asked.state == "succeeded", asked.error
    succeeded = Operation.objects.filter(task="many", state=State.SUCCEEDED).count()
    cancelled = Operation.objects.filter(task="many", error="too many").count()
    assert succeeded > 0
    assert succeeded + cancelled == many
    assert asked.result["done"] == cancelled == LogEntry.objects.count()
    assert any(progress and progress < 1 for progress in seen)


def test_an_action_on_very_many_is_cancelled_between_two_batches(asked, worker, many, monkeypatch):
    act, calls = bulk.acting.act, []

    def cancelled_meanwhile(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            Operation.objects.get(pk=asked.pk).cancel("stop")
        return act(*arguments)

    monkeypatch.setattr(bulk.acting, "act", cancelled_meanwhile)
    worker.drain()
    asked.refresh_from_db()
    assert (asked.state, asked.error) == ("cancelled", "stop")
    assert Operation.objects.filter(task="many", state=State.CANCELLED).count() == 3 * bulk.BATCH
