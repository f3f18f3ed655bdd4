"""On SQLite a script commits what is open: a body that sends one is not run again as if nothing had happened."""

import pytest
from celery.exceptions import Ignore
from django.db import OperationalError, connection, transaction

from django_task_safety import safe_task
from django_task_safety.models import Operation
from tests.support.operations import only
from tests.testapp.models import Effect
from tests.testapp.tasks import effect

State = Operation.State
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("config.getoption('db') != 'sqlite'", reason="only its cursors have executescript()"),
]


def leave_by(raised: Exception) -> None:
    raise raised


ENDS = {
    "return": lambda: None,
    "failure": lambda: leave_by(ValueError("no")),
    "ignore": lambda: leave_by(Ignore("never mind")),
    "effect": lambda: effect("after"),
}


def send_script() -> None:
    with connection.cursor() as cursor:
        cursor.executescript("UPDATE testapp_page SET views = 1; DELETE FROM testapp_sheet")


@safe_task(max_retries=3, retry_backoff=1, autoretry_for=(ValueError,))
def sends_a_script(ends: str) -> None:
    effect("before")
    send_script()
    ENDS[ends]()


@safe_task(atomic=False)
def sends_a_script_alone() -> None:
    send_script()


@safe_task(max_retries=3, retry_backoff=1, autoretry_for=(OperationalError,))
def sends_a_script_in_a_block() -> None:
    with transaction.atomic():
        effect("before")
        send_script()


def test_a_body_that_commits_by_a_script_in_a_block_of_its_own_fails_and_is_not_run_again(worker):
    sends_a_script_in_a_block.delay()
    worker.finish()
    assert (only().state, only().attempt) == (State.FAILED, 1)
    assert only().error.startswith("ImplicitCommit: ")
    assert Effect.objects.get().name == "before"


@pytest.mark.parametrize("ends", ENDS)
def test_a_body_that_commits_by_a_script_fails_and_is_not_run_again(worker, ends):
    sends_a_script.delay(ends)
    worker.finish()
    assert (only().state, only().attempt) == (State.FAILED, 1)
    assert only().error.startswith("ImplicitCommit: ")
    assert "executescript" in only().error
    assert Effect.objects.filter(name="before").count() == 1  # it was committed, once


def test_a_task_without_a_transaction_may_send_a_script(worker):
    sends_a_script_alone.delay()
    worker.drain()
    assert only().state == State.SUCCEEDED
