"""Whoever looks at operations sees them without USE_TZ too, in zones east and west."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db.models import F
from django.urls import reverse
from django.utils import timezone

from django_task_safety import safe_task
from django_task_safety.ledger.keyset import Cursor
from django_task_safety.management.actions import doctor
from django_task_safety.models import Operation
from django_task_safety.values.clock import as_aware
from tests.celery import app
from tests.support.commands import task_safety
from tests.support.factories import WorkerFactory
from tests.support.people import user

LIST = reverse("admin:django_task_safety_operation_changelist")
WORKERS = reverse("admin:django_task_safety_worker_changelist")
HTML = {"Accept": "text/html"}


@safe_task(max_retries=1)
def breaks() -> None:
    raise ValueError("no")


@pytest.fixture(params=["America/New_York", "Asia/Kolkata"], autouse=True)
def _zone(request, settings, worker):
    settings.USE_TZ, settings.TIME_ZONE = False, request.param


@pytest.fixture
def operation(worker):
    """It was tried, failed, and was asked for again."""
    operation = breaks.options(requested_by=user("ada")).enqueue()
    worker.drain()
    assert Operation.objects.get(pk=operation.pk).retry(by="7")
    breaks.apply_async(countdown=3600)
    return Operation.objects.get(pk=operation.pk)


@pytest.mark.parametrize("query", ["", "?state=queued", "?stuck=yes", "?failed=day", "?q=1", "?task=x"])
def test_the_admins_list(admin_client, operation, query):
    assert admin_client.get(LIST + query).status_code == 200


def test_the_pages_of_the_admins_list(admin_client, operation):
    now = {"created_at": timezone.now(), "available_at": timezone.now()}
    Operation.objects.bulk_create([Operation(task=f"t{n}", state="succeeded", **now) for n in range(150)])
    first = admin_client.get(LIST)
    older = admin_client.get(f"{LIST}?before={first.context['cl'].page.older}")
    assert older.status_code == 200


def test_a_place_in_the_list_that_was_said_with_a_time_zone(operation):
    place = Cursor.of(operation)
    aware = Cursor(as_aware(place.created_at).astimezone(UTC), place.pk)
    assert Cursor.parse(str(aware)) == place
    with pytest.raises(ValueError, match="no time of any row"):
        Cursor.parse(f"0001-01-01T00:00:00+14:00_{place.pk.hex}")


def test_the_admins_pages_of_an_operation_and_of_workers(admin_client, operation):
    WorkerFactory()
    for url in (reverse("admin:django_task_safety_operation_change", args=[operation.pk]), WORKERS):
        assert admin_client.get(url).status_code == 200


def test_the_status_pages(client, operation):
    client.force_login(user("ada"))
    told = client.get(operation.status_url()).json()
    assert datetime.now(UTC) - datetime.fromisoformat(told["created_at"]) < timedelta(minutes=5)
    for url in (operation.status_url(), reverse("task_safety:mine"), reverse("task_safety:health")):
        assert client.get(url, headers=HTML).status_code in (200, 503)


def test_the_commands(operation, monkeypatch):
    WorkerFactory()
    monkeypatch.setattr(doctor, "apps", lambda: [app])
    monkeypatch.setattr(doctor.checks, "run_checks", lambda **kwargs: [])
    for said in (["status"], ["list"], ["show", operation.pk], ["doctor"], ["sweep"], ["prune"]):
        answer = task_safety(*said)
        assert answer.code in (0, 1), answer.err
        assert answer.out


def test_clocks_that_agree(operation):
    WorkerFactory()
    clocks = [line for line in task_safety("doctor").out.splitlines() if "clocks" in line]
    assert clocks
    assert not [line for line in clocks if "ahead" in line and " 0." not in line]


def test_what_happened_is_told_as_django_gives_times(operation, settings):
    moments = [operation.created_at, operation.events[0].at]
    moments += [moment for one in operation.attempts for moment in (one.started_at, one.ended_at)]
    assert {moment.tzinfo for moment in moments} == {None}
    assert moments[0] <= moments[2] <= moments[1] <= moments[0] + timedelta(minutes=5)
    before = operation.events[0].at
    settings.USE_TZ = True
    assert Operation(history=operation.history).events[0].at == as_aware(before)


def test_a_history_that_was_written_without_time_zones_is_read_with_them(operation, settings):
    Operation.objects.update(history='["e", "2026-07-01T12:00:00", "cancel", "", ""]\n', attempt=F("attempt"))
    (event,) = Operation.objects.get(pk=operation.pk).events
    assert event.at == datetime(2026, 7, 1, 12)
