"""Sentry, django-structlog and Flower see what they are to see, and nothing that nobody is to read."""

import json
import subprocess
import sys
from typing import Any

import pytest
from celery.events.state import State as Events

from django_task_safety import safe_task
from django_task_safety.signals import operation_started
from django_task_safety.worker import sweeper
from tests.support.factories import NoteFactory
from tests.testapp.models import Note

structlog = pytest.importorskip("structlog")
pytest.importorskip("django_structlog")

seen: list[dict[str, Any]] = []


@safe_task(redact=["card"], max_retries=0)
def pays(order: int, card: str) -> None:
    raise ValueError("no")


@safe_task
def tells() -> None:
    seen.append(structlog.contextvars.get_contextvars())


@safe_task
def shows(note: Note, copies: int) -> None: ...


@pytest.fixture
def sentry(transactional_db: None) -> list[Any]:
    """What Sentry gets of one task that was asked for in a request and published by the sweeper, and one that fails."""
    pytest.importorskip("sentry_sdk")
    done = subprocess.run([sys.executable, "-m", "tests.support.with_sentry"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    events: list[Any] = json.loads(done.stdout)
    return events


def test_sentry_gets_one_event_for_a_failure_without_hidden_values(sentry):
    (event,) = [one for one in sentry if "exception" in one]
    (raised,) = event["exception"]["values"]
    assert (raised["type"], raised["value"]) == ("ValueError", "••• was refused")
    assert event["extra"]["celery-job"]["task_name"] == "pays"
    assert raised["stacktrace"]["frames"][-1]["vars"] == {"order": "7", "card": "'•••'", "copied": "'•••'"}
    assert "4111-1111" not in str(sentry)


def test_sentry_joins_the_trace_of_the_call_also_where_the_sweeper_published_it(sentry):
    traces = {one["transaction"]: one["contexts"]["trace"]["trace_id"] for one in sentry if one.get("type")}
    assert traces["works"] == traces["request"] != traces["pays"]


@pytest.fixture
def structlogged():
    from django_structlog.celery.receivers import CeleryReceiver

    receiver = CeleryReceiver()
    receiver.connect_signals()
    receiver.connect_worker_signals()

    def bind(operation: Any, **kwargs: Any) -> None:
        structlog.contextvars.bind_contextvars(operation=str(operation.pk), attempt=operation.attempt)

    operation_started.connect(bind)
    yield
    operation_started.disconnect(bind)
    from celery import signals

    for name in ("before_task_publish", "after_task_publish", "task_prerun", "task_retry", "task_success"):
        getattr(signals, name).disconnect(getattr(receiver, f"receiver_{name}"))
    for name in ("task_failure", "task_revoked", "task_unknown", "task_rejected"):
        getattr(signals, name).disconnect(getattr(receiver, f"receiver_{name}"))
    structlog.contextvars.clear_contextvars()


def test_structlog_binds_what_the_request_had_also_where_the_sweeper_published_it(worker, structlogged):
    seen.clear()
    with structlog.contextvars.bound_contextvars(request_id="r-17"):
        operation = tells.enqueue()
    worker.take()
    worker.pass_time(61)
    sweeper.sweep()
    worker.drain()
    (said,) = seen
    assert (said["request_id"], said["task_id"]) == ("r-17", str(operation.pk))
    assert (said["operation"], said["attempt"]) == (str(operation.pk), 1)


def test_flower_shows_objects_and_hides_what_is_to_be_hidden(worker):
    note = NoteFactory()
    shows.delay(note, 3)
    pays.delay(7, "4111-1111")
    events = Events()
    for number, message in enumerate(worker.take()):
        said = {"args": message.headers["argsrepr"], "kwargs": message.headers["kwargsrepr"]}
        event = {"type": "task-sent", "uuid": message.headers["id"], "name": message.headers["task"], **said}
        events.event({**event, "hostname": "h", "timestamp": 1.0, "local_received": 1.0, "clock": number})
    shown = {task.name: task.args for task in events.tasks.values()}
    assert shown == {shows.name: f"(<Note {note.pk}>, 3)", pays.name: "(7, '•••')"}
