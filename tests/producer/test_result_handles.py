"""A call, a cancel or a delete talks to no result backend; and a rerun's handle never answers with the old outcome."""

import pickle
from collections.abc import Callable
from typing import Any

import pytest
from celery.backends.base import BaseBackend
from celery.backends.cache import CacheBackend
from celery.backends.filesystem import FilesystemBackend
from celery.backends.redis import RedisBackend
from celery.exceptions import TaskRevokedError, TimeoutError
from celery.result import AsyncResult
from django.db import transaction

from django_task_safety import current_operation, idempotent_task, ledger
from django_task_safety.ledger import parents
from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from tests.celery import app
from tests.support.delivering import LocalWorker, statements
from tests.support.guards import installed, raw
from tests.testapp import guarded_tasks
from tests.testapp.models import Page
from tests.testapp.tasks import record

State = Operation.State
#: What the result backend said while a body ran.
SEEN: list[str] = []

# Celery's own call of redis-py.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex")


def run(value: int) -> int:
    task, operation = again._get_current_object(), current_operation()
    SEEN.append(task.backend.get_task_meta(str(operation.pk))["status"])
    if value == 0:
        raise ValueError("zero")
    return value


@idempotent_task(key="key", rerun="always", max_retries=0)
def again(key: str, value: int) -> int:
    return run(value)


@idempotent_task(key="key", on_duplicate="replace", max_retries=0)
def latest(key: str, value: int) -> int:
    return value


class Overwrites(BaseBackend):
    """Keeps what it was told last and is polled, as the backends of Django's and SQLAlchemy's databases."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.metas: dict[str, dict[str, Any]] = {}

    def _store_result(self, task_id, result, state, traceback=None, request=None, **kwargs):
        self.metas[task_id] = {"status": state, "result": result, "traceback": traceback, "task_id": task_id}

    def _get_task_meta_for(self, task_id):
        return self.meta_from_decoded(dict(self.metas.get(task_id, {"status": "PENDING", "result": None})))

    def _forget(self, task_id):
        self.metas.pop(task_id, None)


class Untouchable:
    """A result backend that nobody may ask or tell anything."""

    def __init__(self) -> None:
        self.touched: list[str] = []

    def remove_pending_result(self, result: object) -> object:
        return result  # of a handle that is collected

    def __getattr__(self, name: str) -> Any:
        self.touched.append(name)
        raise ConnectionError(f"{name} must not be touched")


BACKENDS: dict[str, Callable[..., Any]] = {
    "redis": lambda request: RedisBackend(app=app, url=request.getfixturevalue("redis_server").url),
    "memory": lambda request: CacheBackend(app=app, url="memory://"),
    "files": lambda request: FilesystemBackend(app=app, url=f"file://{request.getfixturevalue('tmp_path')}"),
    "database": lambda request: Overwrites(app=app),
}


def use(monkeypatch: pytest.MonkeyPatch, backend: Any) -> Any:
    for task in (again, latest, record, guarded_tasks.cancelled_with):
        monkeypatch.setattr(task._get_current_object(), "_backend", backend)
    return backend


@pytest.fixture(params=BACKENDS)
def backend(request, worker, monkeypatch) -> Any:
    SEEN.clear()
    return use(monkeypatch, BACKENDS[request.param](request))


def ended(worker: LocalWorker, value: int) -> AsyncResult:
    """Return a plain handle of what has ended."""
    result = again.delay("a", value)
    worker.drain()
    return AsyncResult(result.id, backend=again.backend, app=app)


@pytest.mark.parametrize(("first", "outcome"), [(0, "FAILURE"), (1, "SUCCESS")])
def test_the_handle_of_a_rerun_answers_with_the_new_outcome_alone(worker, backend, first, outcome):
    plain = ended(worker, first)
    handle = again.delay("a", 2)
    assert handle.id == plain.id
    assert (plain.state, handle.state, handle.ready(), handle.result) == (outcome, "PENDING", False, None)
    with pytest.raises(TimeoutError):
        handle.get(timeout=0.05, interval=0.01)
    assert handle.get(timeout=10, interval=0.01, on_interval=worker.drain, on_message=lambda meta: None) == 2
    assert (handle.state, handle.successful()) == ("SUCCESS", True)


@pytest.mark.parametrize("first", [0, 1])
def test_the_old_outcome_is_forgotten_before_the_body_of_a_rerun_begins(worker, backend, first):
    ended(worker, first)
    again.delay("a", 2)
    worker.drain()
    assert SEEN == ["PENDING", "PENDING"]
    assert backend.get_task_meta(str(Operation.objects.get().pk))["result"] == 2


def test_the_old_outcome_is_forgotten_by_a_reruns_second_attempt_where_the_first_could_not(worker, backend):
    ended(worker, 1)
    again.delay("a", 2)
    worker.take()
    Operation.objects.update(max_attempts=2)
    assert ledger.claim(Operation.objects.get().pk, "a worker that dies", 30, None).claimed
    worker.pass_time(31)
    sweeper.sweep()
    worker.drain()
    assert backend.get_task_meta(str(Operation.objects.get().pk))["result"] == 2


def test_the_handle_of_a_rerun_that_fails_raises_the_new_failure(worker, backend):
    ended(worker, 1)
    handle = again.delay("a", 0)
    worker.drain()
    with pytest.raises(ValueError, match="zero"):
        handle.get(timeout=1)
    assert handle.failed()
    assert "zero" in handle.traceback


def test_handles_of_duplicates_of_a_rerun_and_of_a_cancelled_one_answer_with_the_new_outcome(worker, backend):
    ended(worker, 1)
    again.delay("a", 2)
    duplicate = again.delay("a", 3)
    assert duplicate.state == "PENDING"
    Operation.objects.get().cancel("not needed")
    with pytest.raises(TaskRevokedError, match="not needed"):
        duplicate.get(timeout=0.1)


def test_a_rerun_handle_shows_what_the_running_task_says_of_itself(worker, backend):
    ended(worker, 0)
    handle = again.delay("a", 2)
    backend.store_result(handle.id, {"done": 5}, "PROGRESS")
    assert (handle.state, handle.info) == ("PROGRESS", {"done": 5})


def test_the_handle_of_a_rerun_can_be_pickled(worker, backend):
    ended(worker, 0)
    handle = pickle.loads(pickle.dumps(again.delay("a", 2)))
    assert handle.state == "PENDING"
    worker.drain()
    assert handle.get(timeout=1) == 2


def test_a_handle_whose_row_is_gone_asks_the_result_backend(worker):
    ended(worker, 0)
    handle = again.delay("a", 2)
    worker.drain()
    Operation.objects.all().delete()
    assert handle.get(timeout=1) == 2
    handle.forget()
    assert handle.state == "PENDING"


def test_making_the_handle_of_an_ended_duplicate_is_no_statement_more(worker):
    latest.delay("a", 1)
    worker.drain()
    with statements() as found:
        latest.delay("a", 1)
    assert len(found) <= 2, found


def cancel_one() -> None:
    assert Operation.objects.filter(task=record.name).first().cancel()


def cancel_many() -> None:
    assert Operation.objects.cancel()


def delete() -> None:
    Page.objects.get().delete()


def delete_by_sql() -> None:
    with installed("Page"):
        raw(Page.objects.get())


def retry() -> None:
    assert Operation.objects.get(task=again.name).retry()


def rerun_in_a_transaction() -> None:
    with transaction.atomic():
        again.delay("a", 2)


ACTS = {
    "cancel": (cancel_one, 1),
    "cancel many": (cancel_many, 2),
    "delete": (delete, 1),
    "delete by SQL": (delete_by_sql, 1),
    "retry": (retry, 0),
    "rerun": (lambda: again.delay("a", 2), 0),
    "rerun many": (lambda: again.enqueue_many([("a", 2), ("b", 2)]), 0),
    "replace": (lambda: (latest.delay("a", 2), latest.delay("a", 3)), 0),
    "rerun in a transaction": (rerun_in_a_transaction, 0),
}


@pytest.mark.parametrize("act", ACTS)
def test_no_caller_talks_to_the_result_backend(worker, monkeypatch, act):
    page = Page.objects.create(title="a")
    ended(worker, 0)
    record.delay("a")
    guarded_tasks.cancelled_with.delay(page)
    backend = use(monkeypatch, Untouchable())
    happens, cancelled = ACTS[act]
    happens()
    assert Operation.objects.filter(state=State.CANCELLED).count() == cancelled
    assert backend.touched == []


def test_a_cancel_without_receivers_and_logging_reads_no_rows(worker):
    record.enqueue_many([(n,) for n in range(3)])
    with statements() as found:
        assert Operation.objects.all()[0].cancel()
        assert Operation.objects.cancel() == 2
    # Parents, whose chunks go with them, are looked for among many.
    reads = [sql for sql in found if sql.startswith("SELECT") and parents.SPLIT not in sql]
    assert [sql.split()[0] for sql in found if sql in reads or sql.startswith("UPDATE")] == [
        "SELECT",
        "UPDATE",
        "UPDATE",
    ]
    assert len(found) == 4


def test_a_rerun_of_what_was_cancelled_waits_for_nobody(worker):
    latest.enqueue("a", 1).cancel()
    assert not Operation.objects.get().delivered
    latest.delay("a", 2)
    row = Operation.objects.get()
    assert (row.state, row.delivered) == (State.QUEUED, True)
    worker.drain()
    worker.pass_time(100)
    assert not sweeper.sweep()
