"""On PostgreSQL a claim is not flushed by itself where the body's own commit, which comes later, flushes it."""

import pytest
from django.db import connection, connections, transaction

from django_task_safety import ledger, safe_task
from django_task_safety.models import Operation
from tests.testapp.tasks import act, effect, record, watched_outside

pytestmark = [pytest.mark.django_db(transaction=True)]
#: PostgreSQL's own writer may flush a commit at any moment, so that one of them says nothing.
TRIES = 30
COMMITS = "SELECT current_setting('synchronous_commit')"


@pytest.fixture(autouse=True)
def _on_postgresql() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("claims are like every other transaction here")


@safe_task(max_retries=0)
def once() -> None:
    effect("once")


@safe_task(max_retries=None)
def without_end() -> None:
    effect("without end")


def ask(sql: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        (answer,) = cursor.fetchone()
        return str(answer)


def claim(operation: Operation, *, durable: bool = False) -> None:
    seen = ledger.claim(operation.pk, "tests", 30, None, durable=durable)
    assert seen is not None
    assert seen.claimed


def flushed(task, *args, durable: bool = False, **columns: object) -> set[bool]:
    """Return whether claims were on the disk when they returned: all, none, or some of them."""
    found = set()
    for _ in range(TRIES):
        operation = task.enqueue(*args)
        Operation.objects.filter(pk=operation.pk).update(**columns)
        end = ask("SELECT pg_current_wal_insert_lsn()")
        claim(operation, durable=durable)
        found.add(ask(f"SELECT pg_current_wal_flush_lsn() > '{end}'") == "True")
    return found


@pytest.mark.parametrize("task", [record, without_end])
def test_a_claim_does_not_wait_for_the_disk(task):
    assert False in flushed(task, *(["a"] if task is record else []))


def test_the_control_waits_for_the_disk():
    assert flushed(record, "a", durable=True) == {True}


def test_the_last_allowed_attempt_is_counted_on_the_disk_before_it_begins():
    assert flushed(once) == {True}
    assert flushed(act, "ok", attempt=3) == {True}
    assert False in flushed(act, "ok", attempt=2)


def test_what_the_sweeper_published_again_is_counted_on_the_disk():
    assert flushed(record, "a", republished=1) == {True}


def test_the_next_transaction_is_durable_again():
    claim(record.enqueue("a"))
    assert ask(COMMITS) == "on"


def test_what_the_project_says_of_its_commits_is_left_so():
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = 'local'")
    try:
        claim(once.enqueue())
        assert ask(COMMITS) == "local"
    finally:
        connection.close()


def test_inside_a_transaction_the_callers_commit_stays_durable():
    operation = record.enqueue("a")
    with transaction.atomic():
        claim(operation)
        assert ask(COMMITS) == "on"
    operation = record.enqueue("b")
    connection.set_autocommit(False)
    try:
        claim(operation)
        assert ask(COMMITS) == "on"
    finally:
        connection.rollback()
        connection.set_autocommit(True)


def test_the_control_that_sets_it_there_makes_the_callers_commit_one_that_may_be_lost(monkeypatch):
    monkeypatch.setattr(type(connections["default"]), "get_autocommit", lambda self: True)
    operation = record.enqueue("a")
    with transaction.atomic():
        claim(operation)
        assert ask(COMMITS) == "off"


@pytest.mark.parametrize(("task", "durable"), [(record, False), (watched_outside, True)])
def test_a_body_outside_a_transaction_is_claimed_durably(worker, monkeypatch, task, durable):
    seen = []
    original = ledger.claim
    monkeypatch.setattr(ledger, "claim", lambda *a, **k: seen.append(k["durable"]) or original(*a, **k))
    task.delay(*([0] if task is watched_outside else ["a"]))
    worker.drain()
    assert seen == [durable]


def test_a_message_that_the_broker_delivers_again_is_claimed_durably(worker, monkeypatch):
    seen = []
    original = ledger.claim
    monkeypatch.setattr(ledger, "claim", lambda *a, **k: seen.append(k["durable"]) or original(*a, **k))
    record.delay("a")
    message = worker.take_one()
    message.delivery_info["redelivered"] = True
    worker.deliver(message)
    assert seen == [True]
