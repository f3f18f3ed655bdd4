"""A caller's request waits for no result backend: what is told to one that hangs is left after a moment."""

import os
import signal
import time
from collections.abc import Iterator

import pytest
from celery.backends.redis import RedisBackend

from django_task_safety import idempotent_task
from django_task_safety.models import Operation
from tests.celery import app
from tests.support.servers import Redis
from tests.testapp.tasks import record

# Celery's own call of redis-py.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex")


@idempotent_task(key="key", rerun="always")
def again(key: str) -> str:
    return key


@pytest.fixture
def backend(worker, redis_server: Redis, monkeypatch) -> RedisBackend:
    """A result backend in a Redis that can be made to hang."""
    found = RedisBackend(app=app, url=redis_server.url)
    for task in (record, again):
        monkeypatch.setattr(task._get_current_object(), "_backend", found)
    return found


@pytest.fixture
def hangs(redis_server: Redis) -> Iterator[None]:
    for process in redis_server._processes:
        os.kill(process.pid, signal.SIGSTOP)
    yield
    for process in redis_server._processes:
        os.kill(process.pid, signal.SIGCONT)


def test_a_cancel_is_told_and_a_rerun_forgotten(backend, worker):
    operation = record.enqueue("a")
    operation.cancel("not needed")
    told = backend.get_task_meta(str(operation.pk))
    assert (told["status"], str(told["result"])) == ("REVOKED", "not needed")
    operation = again.enqueue("a")
    worker.drain()
    assert backend.get_state(str(operation.pk)) == "SUCCESS"
    again.enqueue("a")
    assert backend.get_state(str(operation.pk)) == "PENDING"


@pytest.mark.parametrize("act", ["cancel", "rerun"])
def test_one_that_hangs_is_left_within_the_bound(backend, worker, act, request, caplog):
    again.enqueue("a")
    worker.drain()
    operation = record.enqueue("a")
    request.getfixturevalue("hangs")
    begun = time.monotonic()
    if act == "cancel":
        assert operation.cancel() is True
    else:
        again.enqueue("a")
    assert time.monotonic() - begun < 2
    assert ("was not told" if act == "cancel" else "could not be forgotten") in caplog.text
    assert "Traceback" not in caplog.text
    # It has happened all the same.
    pending = {operation.task for operation in Operation.objects.pending()}
    assert pending == ({record.name, again.name} if act == "rerun" else set())


def test_its_own_timeouts_stay_as_they_are_for_workers(backend, worker):
    record.enqueue("a").cancel()
    assert backend.connparams["socket_timeout"] == app.conf.redis_socket_timeout > 1
    assert backend.client.connection_pool.connection_kwargs["socket_timeout"] == app.conf.redis_socket_timeout
