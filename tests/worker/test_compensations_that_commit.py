"""A compensation that sends a statement which commits: it commits the end of its operation, before that has ended.

On MariaDB and MySQL that is TRUNCATE and any DDL, on SQLite a script.
"""

from collections.abc import Iterator
from contextlib import suppress

import pytest
from django.db import connection, transaction

from django_task_safety import ImplicitCommit, ledger, safe_task, signals
from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from tests.support.operations import only
from tests.testapp.models import Effect
from tests.testapp.tasks import double, effect

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("config.getoption('db') == 'postgresql'", reason="there no statement commits implicitly"),
]

State = Operation.State
TABLE = "tests_of_compensations_that_commit"


@safe_task(max_retries=0)
def hopeless() -> None:
    raise ValueError("the task's own")


@pytest.fixture(autouse=True)
def _table(transactional_db: None) -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {TABLE} (id int)")
    yield
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {TABLE}")


@pytest.fixture
def failures() -> Iterator[list[Operation]]:
    heard: list[Operation] = []

    def hear(operation: Operation, **_: object) -> None:
        heard.append(operation)

    signals.operation_failed.connect(hear)
    yield heard
    signals.operation_failed.disconnect(hear)


def commit() -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.executescript(f"DELETE FROM {TABLE}")
        else:
            cursor.execute(f"TRUNCATE {TABLE}")


def commits(operation: Operation, exc: BaseException) -> None:
    effect("before")
    double.delay(1)
    commit()


def commits_in_a_block(operation: Operation, exc: BaseException) -> None:
    with transaction.atomic():
        commits(operation, exc)


def commits_and_raises(operation: Operation, exc: BaseException) -> None:
    try:
        commits(operation, exc)
    finally:
        raise RuntimeError("the compensation's own")


def commits_and_goes_on(operation: Operation, exc: BaseException) -> None:
    with suppress(ImplicitCommit):
        commits(operation, exc)


def comes_after(operation: Operation, exc: BaseException) -> None:
    effect("comes after")


@pytest.mark.parametrize("found_by", ["worker", "sweeper"])
@pytest.mark.parametrize("handler", [commits, commits_in_a_block, commits_and_raises, commits_and_goes_on])
def test_a_compensation_that_commits_is_noted_and_the_failure_is_announced(
    worker, monkeypatch, failures, caplog, handler, found_by
):
    monkeypatch.setattr(hopeless, "compensations", [handler, comes_after])
    pk = hopeless.enqueue().pk
    if found_by == "sweeper":
        worker.take()
        ledger.claim(pk, "a worker that dies", 30, None)
        worker.pass_time(31)
        sweeper.sweep()
    worker.drain()
    operation = Operation.objects.get(pk=pk)
    assert (operation.state, operation.attempt) == (State.FAILED, 1)
    assert "its compensation failed: ImplicitCommit: " in operation.error
    assert ("executescript" if connection.vendor == "sqlite" else "TRUNCATE") in operation.error
    assert "its compensation failed" in caplog.text
    assert [one.pk for one in failures] == [pk]
    assert sorted(Effect.objects.values_list("name", flat=True)) == ["before", "comes after", "double"]
    assert Operation.objects.get(task=double.name).state == State.SUCCEEDED


def test_an_error_of_the_operations_own_that_a_compensation_raises_is_rolled_back(worker, monkeypatch):
    @safe_task(max_retries=0)
    def commits_itself() -> None:
        commit()

    def raises_it(operation: Operation, exc: BaseException) -> None:
        effect("undone")
        raise exc

    monkeypatch.setattr(commits_itself, "compensations", [raises_it, comes_after])
    commits_itself.delay()
    worker.drain()
    assert only().state == State.FAILED
    assert "its compensation failed: ImplicitCommit: Its body" in only().error
    assert Effect.objects.get().name == "comes after"
