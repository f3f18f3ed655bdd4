"""An operation's subject is the object that its attempt works on, through replacements and newer arguments."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection

from django_task_safety import PROTECT, KeyReused, ObjectLocked, idempotent_task, safe_task
from django_task_safety.ledger import worker_id
from django_task_safety.models import Operation
from django_task_safety.values.clock import Now
from django_task_safety.worker import recovery, sweeper
from tests.testapp import guarded_tasks as tasks
from tests.testapp.models import Machine, Page

State = Operation.State
pytestmark = pytest.mark.django_db(transaction=True)

DURING_BODY = []


@safe_task(bind=True)
def replaces(self, obj, other, task):
    raise self.replace(getattr(tasks, task).si(other))


@idempotent_task(key="number", on_duplicate="replace", on_delete=PROTECT, atomic=False)
def latest(obj, number):
    for action in DURING_BODY:
        action()
    return str(obj)


@idempotent_task(key="number", on_duplicate="replace", atomic=False)
def newest(obj, number):
    for action in DURING_BODY:
        action()
    return str(obj)


@idempotent_task(key="number", on_duplicate="replace", lock="copy", atomic=False)
def latest_locked(obj, number):
    for action in DURING_BODY:
        action()


@safe_task(bind=True)
def goes_on_with(self, obj, other=None):
    if other is not None:
        raise self.retry(args=(other,), countdown=0)
    return str(obj)


@pytest.fixture(autouse=True)
def _no_actions_are_left():
    yield
    DURING_BODY.clear()


def deleted_elsewhere(obj):
    """A running task may delete its own object; somebody else may not."""
    try:
        return obj.delete()
    except ObjectLocked as exc:
        return exc
    finally:
        connection.close()


def two(model):
    return model.objects.create(pk=1), model.objects.create(pk=2)


def test_a_task_that_replaces_another_protects_its_own_object(worker):
    first, second = two(Page)
    result = replaces.delay(first, second, "protects")
    worker.deliver_one()
    operation = Operation.objects.get(pk=result.id)
    assert (operation.state, operation.subject) == (State.QUEUED, second)
    with pytest.raises(ObjectLocked):
        second.delete()
    first.delete()
    worker.drain()
    second.delete()
    assert not Page.objects.exists()


def test_a_task_that_replaces_another_takes_its_own_lock(worker):
    first, second = two(Machine)
    replaces.delay(first, second, "copies")
    worker.deliver_one()
    assert second.is_locked("copy")
    assert not first.is_locked()
    with pytest.raises(ObjectLocked):
        tasks.copies.delay(second)
    worker.drain()
    assert not second.is_locked()


def test_a_task_that_replaces_another_fails_with_the_reason_where_its_lock_is_held(worker):
    first, second = two(Machine)
    result = replaces.delay(first, second, "copies")
    with second.lock("copy"):
        worker.drain()
    operation = Operation.objects.get(pk=result.id)
    assert operation.state == State.FAILED
    assert "ObjectLocked" in operation.error


def test_newer_arguments_do_not_take_the_protection_from_what_runs(worker):
    first, second = two(Page)
    latest.delay(first, 1)
    refusals = []

    def overtaken():
        DURING_BODY.clear()
        with pytest.raises(KeyReused, match="another object"):
            latest.delay(second, 1)
        latest.delay(first, 1)
        with ThreadPoolExecutor() as pool:
            refusals.append(pool.submit(deleted_elsewhere, first).result(30))

    DURING_BODY.append(overtaken)
    worker.drain()
    assert [type(refusal) for refusal in refusals] == [ObjectLocked]
    assert Operation.objects.get().state == State.SUCCEEDED


def test_newer_arguments_that_protect_nothing_take_over_when_the_running_attempt_has_ended(worker):
    first, second = two(Page)
    newest.delay(first, 1)

    def overtaken():
        DURING_BODY.clear()
        newest.delay(second, 1)
        assert Operation.objects.get().subject == first

    DURING_BODY.append(overtaken)
    worker.deliver_one()
    operation = Operation.objects.get()
    assert (operation.state, operation.subject) == (State.QUEUED, second)
    first.delete()
    worker.drain()
    operation.refresh_from_db()
    assert (operation.state, operation.result) == (State.SUCCEEDED, str(second))


def retried(pk):
    raise ConnectionError


def lost_with_its_lease(pk):
    Operation.objects.filter(pk=pk).update(due_at=Now() - timedelta(seconds=1))
    sweeper.sweep()


def lost_with_its_child(pk):
    Operation.objects.filter(pk=pk).update(worker=worker_id.me())
    recovery.worker_lost(pk, SystemExit())


def hung(pk):
    recovery.time_limit_passed(pk, TimeoutError())


def interrupted(pk):
    raise SystemExit


@pytest.mark.parametrize("ends", [retried, lost_with_its_lease, lost_with_its_child, hung, interrupted])
def test_newer_arguments_take_over_however_the_running_attempt_ended(worker, ends):
    first, second = two(Page)
    newest.delay(first, 1)

    def overtaken():
        DURING_BODY.clear()
        newest.delay(second, 1)
        ends(Operation.objects.get().pk)

    DURING_BODY.append(overtaken)
    worker.deliver_one()
    operation = Operation.objects.get()
    assert (operation.state, operation.subject) == (State.QUEUED, second)
    first.delete()
    assert Operation.objects.get().state == State.QUEUED
    second.delete()
    assert Operation.objects.get().state == State.CANCELLED


def test_a_retry_with_another_object_makes_that_the_operations_subject(worker):
    first, second = two(Page)
    result = goes_on_with.delay(first, second)
    worker.deliver_one()
    operation = Operation.objects.get(pk=result.id)
    assert (operation.state, operation.subject) == (State.QUEUED, second)
    first.delete()
    worker.drain()
    operation.refresh_from_db()
    assert (operation.state, operation.result) == (State.SUCCEEDED, str(second))


def test_newer_arguments_that_need_another_lock_than_what_runs_are_refused(worker):
    first, second = two(Machine)
    latest_locked.delay(first, 1)
    refusals = []

    def overtaken():
        DURING_BODY.clear()
        with pytest.raises(KeyReused) as refusal:
            latest_locked.delay(second, 1)
        refusals.append(refusal)
        latest_locked.delay(first, 1)

    DURING_BODY.append(overtaken)
    worker.drain()
    assert len(refusals) == 1
    assert Operation.objects.get().state == State.SUCCEEDED
    assert not first.is_locked()
    assert not second.is_locked()


def test_newer_arguments_of_a_queued_operation_make_their_object_its_subject(worker):
    first, second = two(Machine)
    latest_locked.delay(first, 1)
    latest_locked.delay(second, 1)
    assert not first.is_locked()
    assert second.is_locked("copy")
    with second.lock("other"), first.lock("copy"), pytest.raises(ObjectLocked):
        latest_locked.delay(first, 1)
    assert Operation.objects.get(task=latest_locked.name).subject == second
