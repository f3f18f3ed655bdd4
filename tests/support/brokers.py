"""Fixtures for what talks to workers in other processes: a broker for both sides, and times that pass quickly."""

import dataclasses
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from tests.celery import app

BROKERS = ["embedded", "redis", "rabbitmq"]
#: Quick enough for tests; the ratios are those of the defaults.
QUICK = {"LEASE": 3, "SWEEP_INTERVAL": 0.5, "REPUBLISH_AFTER": 3}


@dataclasses.dataclass(frozen=True)
class Broker:
    """A broker that this process and its workers use."""

    name: str
    url: str
    options: dict[str, Any]


def connect(broker: Broker, backend: str) -> None:
    """Make this process's Celery app use the broker, as if it had started with it."""
    # In Django's settings: before Celery 5.7 these win over what is changed in the app's configuration.
    settings.CELERY_BROKER_URL = broker.url
    settings.CELERY_BROKER_TRANSPORT_OPTIONS = broker.options
    settings.CELERY_RESULT_BACKEND = backend
    app.__dict__.pop("amqp", None)
    app._pool = None
    app._backend_cache = None
    app._local = threading.local()
    # What a test once set on the app's own configuration would win, and this process would talk to another broker.
    assert (app.conf.broker_url, app.conf.result_backend) == (broker.url, backend)


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """The broker that workers and this process use during the test; empty at its start."""
    if request.param == "embedded":
        folders = {name: str(tmp_path / name) for name in ("queue", "control")}
        for folder in folders.values():
            Path(folder).mkdir()
        queue = folders["queue"]
        options = {"data_folder_in": queue, "data_folder_out": queue, "control_folder": folders["control"]}
        broker = Broker("embedded", "filesystem://", options)
    else:
        server = request.getfixturevalue(f"{request.param}_server")
        broker = Broker(request.param, server.url, {"visibility_timeout": 5} if request.param == "redis" else {})
    backend = f"file://{tmp_path / 'results'}"
    (tmp_path / "results").mkdir()
    connect(broker, backend)
    with app.connection_for_write() as connection:
        connection.default_channel.queue_declare("celery", durable=True, auto_delete=False)
        connection.default_channel.queue_purge("celery")
    monkeypatch.setenv("TASK_SAFETY_TEST_BROKER", broker.url)
    monkeypatch.setenv("TASK_SAFETY_TEST_OPTIONS", json.dumps(broker.options))
    monkeypatch.setenv("TASK_SAFETY_TEST_BACKEND", backend)
    monkeypatch.setenv("TASK_SAFETY_TEST_LOG", str(tmp_path / "worker.log"))
    yield broker
    connect(Broker("memory", "memory://", {}), "cache+memory://")


@pytest.fixture
def quick(settings: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Short leases and intervals, here and in the workers."""
    settings.TASK_SAFETY = QUICK
    monkeypatch.setenv("TASK_SAFETY_TEST_SETTINGS", json.dumps(QUICK))
    return QUICK
