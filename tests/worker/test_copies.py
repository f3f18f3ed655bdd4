"""Old copies of messages, and what they find: other arguments, another task, a later run, a newer version."""

from datetime import UTC, datetime, timedelta

import pytest
from celery.worker import state as worker_state
from django.db import transaction

from django_task_safety import current_operation, idempotent_task, safe_task
from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from tests.celery import app
from tests.support.operations import only
from tests.testapp.models import Effect
from tests.testapp.tasks import effect, record

State = Operation.State
#: What the bodies did that a rollback does not undo.
ran: list[object] = []


@pytest.fixture(autouse=True)
def nothing_ran():
    ran.clear()
    yield
    worker_state.revoked.clear()


@idempotent_task(key="key", on_duplicate="replace")
def latest(key: str, value: int, newer: int | None = None, fail: bool = False) -> int:
    if fail:
        raise ConnectionError("not yet")
    if newer is not None:
        latest.delay(key, newer)
        ran.append(current_operation().idempotency_key)
    effect("latest", value)
    return value


@idempotent_task(key="key", version="version")
def versioned(key: str, version: int, newer: int | None = None) -> int:
    if newer is not None:
        versioned.delay(key, newer)
    return version


@idempotent_task(key="key", rerun="always")
def always(key: str) -> None:
    ran.append(key)


@idempotent_task(key="key", max_retries=0)
def failing(key: str) -> None:
    ran.append(key)
    raise ValueError("no")


@idempotent_task(key="key")
def once(key: str) -> str:
    effect("once", key)
    return key


@idempotent_task(key="key", bind=True)
def pages(self, key: str, page: int = 0) -> str:
    effect("pages", page)
    if page < 2:
        return self.replace(pages.s(key, page + 1))
    return "done"


@safe_task(bind=True)
def replaced(self, key: str) -> None:
    effect("replaced", key)
    raise self.replace(record.si("replacement", key))


def keys(name: str) -> list[str]:
    return list(Effect.objects.filter(name=name).order_by("pk").values_list("key", flat=True))


def test_the_last_of_two_replacements_in_one_transaction_wins(worker):
    latest.delay("a", 1)
    with transaction.atomic():
        latest.delay("a", 2)
        latest.delay("a", 3)
    _, second, third = worker.take()
    worker.deliver(second)
    worker.deliver(third)
    worker.finish()
    assert keys("latest") == ["3"]


def test_a_copy_of_a_message_without_a_row_runs_the_newest_arguments(worker):
    app.send_task(latest.name, ("a", 1), {"fail": True})
    message = worker.take_one()
    worker.deliver(message)
    worker.take()
    Operation.objects.update(available_at=datetime.now(UTC) - timedelta(seconds=1))
    latest.delay("a", 2)
    worker.deliver(message)
    assert keys("latest") == ["2"]


@pytest.mark.parametrize("task", [always, failing])
def test_a_copy_of_a_duplicate_without_a_row_runs_nothing_again(worker, task):
    task.delay("a")
    worker.drain()
    app.send_task(task.name, ("a",))
    message = worker.take_one()
    worker.deliver(message)
    worker.drain()
    assert len(ran) == 2
    worker.deliver(message)
    worker.drain()
    assert len(ran) == 2


def test_an_expired_copy_does_not_cancel_the_next_call(worker):
    once.apply_async(("a",), expires=5)
    old = worker.take_one()
    worker.pass_time(10)
    assert sweeper.sweep().cancelled == 1
    once.delay("a")
    worker.deliver(old)
    assert only().state == State.QUEUED


def test_a_worker_that_saw_a_message_expire_runs_the_next_call(worker):
    once.apply_async(("a",), expires=5)
    old = worker.take_one()
    worker.pass_time(10)
    worker.deliver(old)
    assert only().state == State.CANCELLED
    once.delay("a")
    worker.drain()
    assert (only().state, keys("once")) == (State.SUCCEEDED, ["a"])


def test_a_copy_of_a_replaced_message_does_not_run_the_replaced_body_again(worker):
    replaced.delay("a")
    message = worker.take_one()
    worker.deliver(message)
    worker.deliver(message)
    worker.drain()
    assert (keys("replaced"), keys("replacement")) == (["a"], ["a"])


def test_a_replacement_may_start_after_the_first_message_expired(worker):
    replaced.apply_async(("a",), expires=5)
    worker.deliver_one()
    worker.take()
    worker.pass_time(100)
    sweeper.sweep()
    worker.drain()
    assert keys("replacement") == ["a"]


def test_a_task_may_replace_itself_under_its_own_key(worker):
    pages.delay("a")
    worker.drain(limit=20)
    assert keys("pages") == ["0", "1", "2"]
    assert only().state == State.SUCCEEDED


def test_a_superseded_run_records_its_own_version_as_succeeded(worker):
    versioned.delay("a", 1, newer=2)
    worker.deliver_one()
    assert (only().state, only().succeeded_version) == (State.QUEUED, 1)


def test_a_superseded_run_keeps_its_own_idempotency_key(worker):
    pk = latest.delay("a", 1, newer=2).id
    worker.deliver_one()
    assert ran == [pk]
