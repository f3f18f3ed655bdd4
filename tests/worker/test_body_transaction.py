"""MariaDB and MySQL end a body's transaction behind Django's back: TRUNCATE, DDL, a deadlock."""

import threading
from collections.abc import Callable

import pytest
from celery.exceptions import Ignore
from django.db import OperationalError, connection, transaction

from django_task_safety import ImplicitCommit, current_operation, safe_task
from django_task_safety.models import Operation
from tests.support.delivering import statements
from tests.testapp.models import Effect, Note
from tests.testapp.tasks import effect

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("config.getoption('db') != 'mariadb'", reason="elsewhere no statement commits implicitly"),
]

State = Operation.State
#: Makes a deadlock with the body.
RIVAL: list[Callable[[Note, Note], None]] = []
TABLE = "tests_of_implicit_commits"


def send(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def _body(sql: str, how: str = "return") -> str:
    effect("before")
    try:
        send(sql)
    except ImplicitCommit:
        if how != "swallow":
            raise
    if how == "fail":
        raise ConnectionError("first")
    return "done"


@safe_task(max_retries=3, retry_backoff=0)
def sends(sql: str, how: str = "return") -> str:
    return _body(sql, how)


@safe_task(max_retries=3, atomic=False)
def sends_outside(sql: str) -> str:
    return _body(sql)


@safe_task(max_retries=3)
def ends(how: str) -> None:
    """Hide that the transaction is gone, and end in each way that says something else of the attempt."""
    effect("before")
    try:
        send(f"TRUNCATE {TABLE}")
    except ImplicitCommit:
        if how == "ignore":
            raise Ignore("never mind") from None
        if how == "retry":
            raise ends.retry() from None
        raise SystemExit from None


@safe_task(bind=True, max_retries=3, retry_backoff=0)
def meets_a_deadlock(self, swallow: bool) -> int:
    effect("before")
    first, second = Note.objects.order_by("pk")
    Note.objects.filter(pk=first.pk).update(title="mine")
    try:
        if current_operation().attempt == 1:
            RIVAL[0](first, second)
            Note.objects.filter(pk=second.pk).update(title="mine")
    except OperationalError:
        if not swallow:
            raise
    effect("after")
    return current_operation().attempt


@pytest.fixture(autouse=True)
def _table(transactional_db):
    send(f"CREATE TABLE {TABLE} (id int)")
    send(f"CREATE PROCEDURE {TABLE}_truncate() TRUNCATE {TABLE}")
    send(f"CREATE PROCEDURE {TABLE}_count() SELECT COUNT(*) FROM {TABLE}")
    yield
    send(f"DROP TABLE IF EXISTS {TABLE}")
    send(f"DROP PROCEDURE {TABLE}_truncate")
    send(f"DROP PROCEDURE {TABLE}_count")


COMMITTING = [
    f"TRUNCATE {TABLE}",
    f"  /* all of it */ truncate table {TABLE}",
    f"-- all of it\nTRUNCATE {TABLE}",
    f"ALTER TABLE {TABLE} ADD COLUMN more int",
    f"CREATE INDEX more ON {TABLE} (id)",
    f"DROP TABLE {TABLE}",
    f"CALL {TABLE}_truncate()",
    f"SET STATEMENT max_statement_time=10 FOR TRUNCATE {TABLE}",
    "COMMIT",
]


@pytest.mark.parametrize("sql", COMMITTING)
def test_a_body_that_commits_its_transaction_fails_and_is_not_run_again(worker, sql):
    sends.delay(sql)
    deliveries = worker.drain()
    operation = Operation.objects.get()
    assert (operation.state, operation.attempt, len(deliveries)) == (State.FAILED, 1, 1)
    assert operation.error.startswith("ImplicitCommit: ")
    assert sql.split()[-1] in operation.error
    assert "atomic=False" in operation.error
    assert Effect.objects.count() == 1  # it was committed, once


@pytest.mark.parametrize("how", ["fail", "swallow"])
def test_however_the_body_goes_on_it_is_not_run_again(worker, how):
    sends.delay(f"TRUNCATE {TABLE}", how)
    worker.drain()
    operation = Operation.objects.get()
    assert (operation.state, operation.attempt, Effect.objects.count()) == (State.FAILED, 1, 1)
    assert operation.error.startswith("ImplicitCommit: ")


@pytest.mark.parametrize("how", ["ignore", "retry"])
def test_however_the_attempt_ends_it_is_not_run_again(worker, how):
    ends.delay(how)
    worker.drain()
    operation = Operation.objects.get()
    assert (operation.state, operation.attempt, Effect.objects.count()) == (State.FAILED, 1, 1)
    assert operation.error.startswith("ImplicitCommit: ")


def test_an_attempt_whose_process_is_told_to_go_is_not_run_again(worker):
    ends.delay("exit")
    assert worker.deliver_one().acknowledged
    operation = Operation.objects.get()
    assert (operation.state, operation.attempt, Effect.objects.count()) == (State.FAILED, 1, 1)


def test_a_statement_that_fails_has_committed_all_the_same(worker):
    sends.delay(f"CREATE TABLE {TABLE} (id int)")
    worker.drain()
    operation = Operation.objects.get()
    assert (operation.state, operation.attempt, Effect.objects.count()) == (State.FAILED, 1, 1)
    assert operation.error.startswith("ImplicitCommit: ")


@pytest.mark.parametrize(
    "sql",
    [
        f"CREATE TEMPORARY TABLE {TABLE}_t (id int)",
        f"CALL {TABLE}_count()",
        "SET @mine = 'a;b'",
        "SET SESSION sort_buffer_size = 262144",
        "SELECT 'TRUNCATE; DROP'",
    ],
)
def test_what_only_looks_as_if_it_committed_is_let_alone(worker, sql):
    sends.delay(sql)
    worker.drain()
    assert Operation.objects.get().error == ""
    assert (Operation.objects.get().state, Effect.objects.count()) == (State.SUCCEEDED, 1)
    connection.close()


def test_a_savepoint_of_the_bodys_own_is_told_from_one_that_is_gone(worker):
    @safe_task(max_retries=0)
    def nests() -> None:
        with transaction.atomic():
            effect("nested")
            send("SELECT ';'")
        with transaction.atomic():
            effect("undone")
            send("SELECT ';'")
            transaction.set_rollback(True)

    nests.delay()
    worker.drain()
    assert (Operation.objects.get().state, Operation.objects.get().error) == (State.SUCCEEDED, "")
    assert Effect.objects.get().name == "nested"


def test_a_task_without_a_transaction_may_send_them(worker):
    sends_outside.delay(f"TRUNCATE {TABLE}")
    worker.drain()
    assert (Operation.objects.get().state, Effect.objects.count()) == (State.SUCCEEDED, 1)


def test_statements_that_commit_nothing_cost_nothing(worker):
    sends.delay("SELECT 1")
    with statements() as found:
        worker.drain()
    assert len(found) == 4, found  # claim, effect, SELECT 1, settle


@pytest.mark.parametrize("swallow", [True, False])
def test_a_body_that_swallows_a_deadlock_is_run_again_as_a_whole(worker, in_thread, monkeypatch, swallow):
    Note.objects.bulk_create([Note(title="first"), Note(title="second")])
    rivals = []

    def rival(first: Note, second: Note) -> None:
        held = threading.Event()

        def cross() -> None:
            with transaction.atomic():
                # More to undo than the body, which is therefore the victim.
                Effect.objects.bulk_create([Effect(name="rival", key=str(number)) for number in range(50)])
                Note.objects.filter(pk=second.pk).update(title="theirs")
                held.set()
                Note.objects.filter(pk=first.pk).update(title="theirs")

        rivals.append(in_thread(cross))
        assert held.wait(30)

    monkeypatch.setattr("tests.worker.test_body_transaction.RIVAL", [rival])
    meets_a_deadlock.delay(swallow)
    worker.drain()
    assert [one.result() for one in rivals] == [None]
    operation = Operation.objects.get()
    assert (operation.state, operation.result) == (State.SUCCEEDED, 2)
    found = Effect.objects.exclude(name="rival").values_list("name", flat=True)
    assert sorted(found) == ["after", "before"]
