"""`.apply()` and eager mode: the whole protocol in this process."""

import time

import pytest
from celery import chain, chord
from celery.result import EagerResult
from django.db import transaction

from django_task_safety import ObjectGone, current_operation, idempotent_task, safe_task
from django_task_safety.models import Operation
from tests.celery import app
from tests.support.delivering import undone
from tests.testapp.models import Effect, Note
from tests.testapp.tasks import ACTIONS, act, add, charge, copy_note, double, record, total

State = Operation.State


@safe_task
def quits() -> None:
    raise SystemExit(1)


@safe_task
def tells() -> list[object]:
    operation = current_operation()
    return [str(operation.pk), operation.attempt]


@idempotent_task(key="key", rerun="always")
def again(key: str) -> int:
    return Effect.objects.create(name="again", key=key).pk


@pytest.fixture
def eager():
    app.conf.task_always_eager = True
    yield
    app.conf.task_always_eager = False


def ran(name: str) -> int:
    return Effect.objects.filter(name=name).count()


def test_apply_runs_now_and_leaves_a_row(worker):
    result = add.apply((1,), {"b": 2})
    operation = Operation.objects.get()
    assert isinstance(result, EagerResult)
    assert (result.state, result.get(), result.id) == ("SUCCESS", 3, str(operation.pk))
    assert (operation.state, operation.result, operation.attempt) == (State.SUCCEEDED, 3, 1)
    assert worker.take() == []


def test_the_body_of_an_apply_knows_its_operation(worker):
    result = tells.apply()
    assert result.get() == [result.id, 1]


def test_apply_works_inside_a_transaction_and_rolls_back_with_it(worker):
    with undone():
        assert add.apply((1,)).get() == 1
    assert not Operation.all_rows.exists()
    assert not Effect.objects.exists()


def test_a_failed_apply_rolls_its_writes_back_and_nothing_else(worker):
    with transaction.atomic():
        Effect.objects.create(name="outer")
        result = act.apply(("raise",))
        assert result.state == "FAILURE"
        assert isinstance(result.result, ValueError)
    assert Operation.objects.get().state == State.FAILED
    assert list(Effect.objects.values_list("name", flat=True)) == ["outer"]


def test_apply_raises_when_it_is_told_to(worker):
    with pytest.raises(ValueError, match="no"):
        act.apply(("raise",), throw=True)
    assert Operation.objects.get().state == State.FAILED


def test_apply_of_a_duplicate_returns_the_stored_outcome(worker):
    first = double.apply((4,))
    second = double.apply((4,))
    assert (first.get(), second.get(), ran("double")) == (8, 8, 1)
    assert first.id == second.id


def test_apply_of_a_duplicate_runs_again_where_it_is_wanted(worker):
    assert again.apply(("a",)).get() != again.apply(("a",)).get()
    assert Operation.objects.count() == 1


@pytest.mark.parametrize(("action", "attempts"), [("flaky", 3), ("retry", 3)])
def test_in_eager_mode_retries_do_not_wait(worker, action, attempts):
    started = time.monotonic()
    details = {"countdown": 600} if action == "retry" else {}
    result = act.apply((action,), details)
    assert time.monotonic() - started < 10
    assert result.state == "SUCCESS"
    assert Operation.objects.get().attempt == attempts
    assert ran(action) == 1


def test_in_eager_mode_retries_end_when_the_attempts_are_spent(worker):
    result = act.apply(("flaky",), {"until": 100})
    assert result.state == "FAILURE"
    assert (Operation.objects.get().state, Operation.objects.get().attempt) == (State.FAILED, 4)


@pytest.mark.parametrize("options", [{"countdown": 3600}, {"eta": None, "countdown": 5}])
def test_apply_does_not_wait_for_a_countdown(worker, options):
    assert record.apply(("a",), **options).get() == "a"


@pytest.mark.parametrize(
    ("action", "state"), [("ignore", State.CANCELLED), ("reject", State.FAILED), ("replace", State.SUCCEEDED)]
)
def test_in_eager_mode_every_way_to_end_is_recorded(worker, action, state):
    act.apply((action,))
    assert set(Operation.objects.values_list("state", flat=True)) == {state}


def test_an_apply_whose_process_is_interrupted_leaves_the_work_to_another(worker):
    with pytest.raises(SystemExit):
        quits.apply()
    operation = Operation.objects.get()
    assert (operation.state, operation.attempt, operation.token) == (State.QUEUED, 1, None)


def test_objects_are_loaded_fresh_in_apply_too(worker):
    note = Note.objects.create(title="old")
    Note.objects.update(title="new")
    assert copy_note.apply((note, 1)).get() == 1
    assert Note.objects.filter(title="new 0").exists()


def test_a_gone_object_ends_apply_as_cancelled(worker):
    note = Note.objects.create(title="a")
    Note.objects.all()._raw_delete("default")
    result = copy_note.apply((note,))
    assert result.state != "SUCCESS"
    assert not isinstance(result.result, ObjectGone)
    assert Operation.objects.get().state == State.CANCELLED


def test_in_eager_mode_delay_runs_now(worker, eager):
    result = charge.delay(1, amount=5)
    assert isinstance(result, EagerResult)
    assert (result.get(), Operation.objects.get().state) == (5, State.SUCCEEDED)
    assert charge.delay(1).get() == 5
    assert ran("charge") == 1


def test_in_eager_mode_enqueue_answers_the_row_as_it_ended(worker, eager):
    assert (double.enqueue(3).state, double.enqueue(3).result) == (State.SUCCEEDED, 6)
    assert act.enqueue("raise").state == State.FAILED
    assert [operation.result for operation in add.enqueue_many([(1,), {"a": 2, "b": 3}])] == [1, 5]


def test_in_eager_mode_errors_propagate_when_celery_is_told_so(worker, eager):
    app.conf.task_eager_propagates = True
    try:
        with pytest.raises(ValueError, match="no"):
            act.delay("raise")
    finally:
        app.conf.task_eager_propagates = False
    assert Operation.objects.get().state == State.FAILED


def test_in_eager_mode_a_canvas_runs_through(worker, eager):
    assert chain(double.s(1), double.s(), double.s())().get() == 8
    assert chord([double.s(5), double.s(5), double.s(6)])(total.s()).get() == 32
    assert ran("double") == 5
    assert not Operation.objects.pending().exists()


def test_a_task_called_from_a_task_in_eager_mode_has_its_own_row(worker, eager):
    act.delay("replace")
    assert ran("replacement") == 1
    assert not Operation.objects.pending().exists()


@idempotent_task(key="key", on_duplicate="replace")
def latest(key: str, value: int) -> int:
    if value < 3:
        latest.delay(key, value + 1)
    return Effect.objects.create(name="latest", key=str(value)) and value


@idempotent_task(key="key", version="version")
def versioned(key: str, version: int) -> int:
    if version < 3:
        versioned.delay(key, version + 1)
    return Effect.objects.create(name="latest", key=str(version)) and version


@pytest.mark.parametrize("task", [latest, versioned])
def test_in_eager_mode_newer_arguments_run_in_the_caller(eager, worker, task):
    task.delay("a", 1)
    assert list(Effect.objects.order_by("pk").values_list("key", flat=True)) == ["1", "2", "3"]
    assert (Operation.objects.get().state, Operation.objects.get().result) == (State.SUCCEEDED, 3)
    assert not worker.take()


def test_newer_arguments_that_an_apply_leaves_are_left_to_workers(worker):
    latest.apply(("a", 1))
    assert Operation.objects.get().state == State.QUEUED
    worker.finish()
    assert Operation.objects.get().result == 3


def test_in_eager_mode_a_retry_by_hand_runs_in_the_caller(eager, worker, monkeypatch):
    monkeypatch.setitem(ACTIONS, "raise", _refuse)
    operation = act.enqueue("raise")
    assert operation.state == State.FAILED
    monkeypatch.setitem(ACTIONS, "raise", lambda self: "fine")
    assert operation.retry() is True
    assert (operation.state, operation.result) == (State.SUCCEEDED, "fine")
    assert not worker.take()


def _refuse(self):
    raise ValueError("no")
