"""Two Celery apps in one process: what a task does, it does by its own app, whichever is the current one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, _state
from django.core import checks

from django_task_safety import SafeTask, registry
from django_task_safety.conf import conf
from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from tests.celery import app
from tests.support.delivering import LocalWorker
from tests.support.operations import only
from tests.testapp.tasks import record

State = Operation.State


@pytest.fixture
def second(tmp_path: Path, worker: LocalWorker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    """An app that is not the current one, with a broker of its own."""
    # What it shares with other apps is not shared with those of other tests.
    monkeypatch.setattr(_state, "_on_app_finalizers", set(_state._on_app_finalizers))
    box = str(tmp_path)
    options = {"data_folder_in": box, "data_folder_out": box, "control_folder": box}
    other = Celery("second", broker="filesystem://", backend="cache+memory://", set_as_current=False, task_cls=SafeTask)
    other.conf.update(broker_transport_options=options, task_time_limit=100, accept_content=["json", "pickle"])
    yield other
    app.set_current()
    other.close()


@pytest.fixture
def task(second: Celery) -> Any:
    @second.task(name="tests.second.double", shared=False)
    def double(n: int) -> int:
        return 2 * n

    return double


def published(tmp_path: Path) -> list[dict[str, Any]]:
    """Return the headers of what is in the second app's broker."""
    return [json.loads(file.read_text())["headers"] for file in tmp_path.glob("*.msg")]


def test_a_message_goes_to_the_broker_of_the_tasks_app(worker, task, tmp_path):
    result = task.delay(2)
    assert worker.take() == []
    assert [headers["id"] for headers in published(tmp_path)] == [result.id]
    (operation,) = task.enqueue_many([(3,)])
    assert {headers["id"] for headers in published(tmp_path)} == {result.id, str(operation.pk)}


def test_a_shared_task_goes_by_the_app_that_it_is_called_by(worker, second, tmp_path):
    called = second.tasks[record.name].delay("second")
    assert worker.take() == []
    record.delay("first")
    assert len(worker.take()) == 1
    assert [headers["id"] for headers in published(tmp_path)] == [called.id]


def test_the_sweeper_publishes_each_operation_by_its_own_app(worker, second, task, tmp_path):
    mine = record.delay("first")
    others = {task.delay(2).id, second.tasks[record.name].delay("second").id}
    worker.take()
    for file in tmp_path.glob("*.msg"):
        file.unlink()
    worker.pass_time(conf().REPUBLISH_AFTER + 1)
    assert sweeper.sweep().published == 3
    assert [message.headers["id"] for message in worker.take()] == [mine.id]
    assert {headers["id"] for headers in published(tmp_path)} == others


def test_an_app_whose_broker_fails_does_not_hold_up_the_other(worker, second, task):
    second.conf.broker_transport_options = {"data_folder_out": "/dev/null/none", "control_folder": "/dev/null/none"}
    late, mine = task.delay(2), record.delay("first")
    worker.take()
    worker.pass_time(conf().REPUBLISH_AFTER + 1)
    assert sweeper.sweep().published == 1
    assert [message.headers["id"] for message in worker.take()] == [mine.id]
    assert Operation.objects.get(pk=late.id).state == State.QUEUED


def test_an_operation_of_an_app_that_is_unknown_here_is_left_to_others(worker, second, tmp_path):
    second.tasks[record.name].delay("second")
    Operation.all_rows.update(options=only().options.replace(second.main, "elsewhere"))
    worker.pass_time(conf().REPUBLISH_AFTER + 1)
    assert not sweeper.sweep().published
    assert worker.take() == []
    assert only().state == State.QUEUED


def test_an_operation_runs_in_the_app_of_its_worker(worker, second, task, tmp_path):
    local = LocalWorker(second)
    second.set_current()  # as a worker's app is
    result = task.delay(4)
    local.drain()
    assert (only().state, only().result, result.get(timeout=1)) == (State.SUCCEEDED, 8, 8)


def test_a_result_is_read_as_the_tasks_app_says(second, worker):
    @second.task(name="tests.second.numbers", shared=False)
    def numbers() -> set[int]:
        return {1, 2}

    second.conf.result_serializer = "pickle"
    operation = Operation.objects.get(pk=numbers.apply().id)
    assert operation.result_payload.startswith("!application/x-python-serialize")
    assert "pickle" not in app.conf.accept_content
    assert operation.result == {1, 2}


def test_a_retry_by_hand_goes_by_the_tasks_app(worker, task, second, tmp_path):
    operations = [task.enqueue(1), second.tasks[record.name].enqueue("a")]
    for operation in operations:
        operation.cancel()
    for file in tmp_path.glob("*.msg"):
        file.unlink()
    assert all(operation.retry() for operation in operations)
    assert worker.take() == []
    assert {headers["id"] for headers in published(tmp_path)} == {str(operation.pk) for operation in operations}


def test_tasks_of_every_app_are_checked(second, task, monkeypatch):
    monkeypatch.setattr("django_task_safety.checks.findings._NAMES", 10_000)  # it names a few of the tests' many tasks
    second.conf.broker_url, second.conf.broker_transport_options = "redis://", {"visibility_timeout": 30}
    warnings = [check.msg for check in checks.run_checks(tags=["task_safety"]) if check.id == "task_safety.W001"]
    assert any("tests.second.double" in text and "30 s" in text for text in warnings)
    assert registry.safe_task_named("tests.second.double").app is second


def test_one_app_alone_keeps_nothing_of_itself(worker, monkeypatch):
    monkeypatch.setattr(_state, "_apps", {app})
    record.delay("a")
    assert only().options == ""
