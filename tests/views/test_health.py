"""``GET …/health/``: a word for load balancers and probes, and no more for strangers."""

from datetime import timedelta

import pytest
from django.core.handlers.base import BaseHandler
from django.db import OperationalError, connections
from django.db.models import F
from django.test import Client
from django.urls import reverse

from django_task_safety.models import Operation, Worker
from django_task_safety.values.clock import After
from django_task_safety.views import health
from tests.support import people
from tests.support.delivering import statements
from tests.support.factories import WorkerFactory
from tests.testapp.tasks import record

pytestmark = pytest.mark.django_db


def ask(client: Client | None = None, query: str = ""):
    return (client or Client()).get(reverse("task_safety:health") + query)


def stuck() -> None:
    record.enqueue("a")
    Operation.objects.update(available_at=F("available_at") - timedelta(minutes=5))


def test_all_is_well():
    WorkerFactory()
    record.enqueue("a")
    with statements() as sent:
        answer = ask()
    assert (answer.status_code, answer.json()) == (200, {"status": "good"})
    assert len(sent) == 2
    assert "no-store" in answer["Cache-Control"]


BAD = {
    "no worker": lambda: None,
    "a worker that went": lambda: WorkerFactory(silent=3600),
    "nobody sweeps": lambda: (WorkerFactory(), Worker.objects.update(last_sweep=After(-3600))),
    "stuck": lambda: (WorkerFactory(), stuck()),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_well_is_503_and_strangers_hear_no_more(name):
    BAD[name]()
    with statements() as sent:
        answer = ask()
    assert (answer.status_code, answer.json()) == (503, {"status": "bad"})
    assert len(sent) <= 2


def test_staff_who_may_view_operations_hear_what_is_wrong():
    WorkerFactory()
    stuck()
    client = Client()
    client.force_login(people.staff("ann", "view_operation"))
    assert ask(client).json() == {"status": "bad", "problems": ["Operations are stuck."]}
    client.force_login(people.staff("bob"))
    assert ask(client).json() == {"status": "bad"}


def test_a_load_balancer_may_ask_for_the_database_alone():
    with statements() as sent:
        answer = ask(query="?only=database")
    assert (answer.status_code, len(sent)) == (200, 1)


@pytest.mark.parametrize("query", ["", "?only=database"])
def test_a_database_that_is_down_is_503_without_a_traceback(query, monkeypatch):
    def down(*args):
        raise OperationalError("secret-host refused")

    monkeypatch.setattr(health.Fleet, "read", down)
    monkeypatch.setattr(health.table, "now", down)
    answer = ask(query=query)
    assert (answer.status_code, answer.json()) == (503, {"status": "bad"})


def test_no_transaction_is_begun_for_it(monkeypatch):
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    assert BaseHandler().make_view_atomic(health.health) is health.health


def test_it_is_read_only():
    assert Client().post(reverse("task_safety:health")).status_code == 405
    WorkerFactory()
    assert Client().head(reverse("task_safety:health")).status_code == 200
