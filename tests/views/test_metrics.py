"""``GET …/metrics/``: what Prometheus scrapes, for those who may see operations."""

import sys
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from prometheus_client.parser import text_string_to_metric_families

from django_task_safety import ledger
from django_task_safety.models import Operation
from django_task_safety.values.clock import After
from tests.support import people
from tests.support.delivering import statements
from tests.support.factories import QueueFactory, WorkerFactory
from tests.testapp.tasks import record

pytestmark = pytest.mark.django_db


def with_token(request) -> bool:
    return request.headers.get("Authorization") == "Bearer secret"


def fails(request) -> bool:
    raise ValueError("no")


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def ask(client: Client | None = None, **headers: str):
    return (client or Client()).get(reverse("task_safety:metrics"), headers=headers)


def scraped() -> dict[tuple[str, ...], float]:
    answer = ask(client_of(people.staff("ann", "view_operation")))
    assert answer.status_code == 200
    return {
        (sample.name.removeprefix("task_safety_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.content.decode())
        for sample in family.samples
    }


def test_strangers_users_and_staff_without_the_permission_see_no_page():
    for client in (None, client_of(people.user("bob")), client_of(people.staff("eve"))):
        assert ask(client).status_code == 404


def test_the_project_may_let_others_in(settings, caplog):
    settings.TASK_SAFETY = {"METRICS_PERMISSION": f"{__name__}.with_token"}
    assert ask().status_code == 404
    assert ask(Authorization="Bearer secret").status_code == 200
    settings.TASK_SAFETY = {"METRICS_PERMISSION": f"{__name__}.fails"}
    assert ask().status_code == 404
    assert "METRICS_PERMISSION" in caplog.text


def test_without_its_client_there_is_no_page(monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "django_task_safety.prometheus", raising=False)
    assert ask(client_of(people.staff("ann", "view_operation"))).status_code == 404


def test_it_is_only_read():
    client = client_of(people.staff("ann", "view_operation"))
    assert client.post(reverse("task_safety:metrics")).status_code == 405


def test_it_says_what_the_overview_says():
    worker = WorkerFactory(queues=["celery", "mail"])
    WorkerFactory(name="old@host", silent=3600)
    QueueFactory(latency_p50=0.5, latency_p95=2.5, heartbeat=timedelta(seconds=3))
    first, late, _ = record.enqueue_many([("a",)] * 3)
    ledger.claim(first.pk, worker.identity, 30, None)
    Operation.objects.filter(pk=late.pk).update(available_at=After(-90))
    found = scraped()
    assert 90 <= found.pop(("queue_oldest_seconds", "celery")) < 100
    assert found.pop(("last_sweep_timestamp_seconds",)) > 1_700_000_000
    assert found == {
        ("operations", "queued"): 2,
        ("operations", "running"): 1,
        ("operations", "succeeded"): 0,
        ("operations", "failed"): 0,
        ("operations", "cancelled"): 0,
        ("stuck",): 1,
        ("problems",): 0,
        ("worker_alive", "host", worker.name): 1,
        ("worker_alive", "host", "old@host"): 0,
        ("worker_differs", "host", worker.name): 0,
        ("queue_due", "celery"): 2,
        ("queue_due", "mail"): 0,
        ("queue_running", "celery"): 1,
        ("queue_running", "mail"): 0,
        ("queue_latency_p50_seconds", "celery"): 0.5,
        ("queue_latency_p95_seconds", "celery"): 2.5,
        ("queue_heartbeat_seconds", "celery"): 3,
        ("queue_workers", "celery"): 1,
        ("queue_workers", "mail"): 1,
    }


def test_names_of_queues_are_text():
    WorkerFactory(queues=['a"} 1\nevil{x="\\'])
    assert ("queue_due", 'a"} 1\nevil{x="\\') in scraped()


def test_it_takes_few_statements():
    client = client_of(people.staff("ann", "view_operation"))
    with statements() as found:
        ask(client)
    assert len(found) <= 17
