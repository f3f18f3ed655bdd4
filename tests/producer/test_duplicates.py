"""What a second call with the same key gets: while the first is pending, after it ended, and as newer work."""

from datetime import UTC, datetime, timedelta

import pytest
from celery.backends.filesystem import FilesystemBackend
from celery.exceptions import TaskRevokedError

from django_task_safety import DuplicateOperation, KeyReused, idempotent_task
from django_task_safety.models import Operation
from tests.testapp.models import Effect
from tests.testapp.tasks import charge, effect

State = Operation.State


@idempotent_task(key="key", max_retries=0)
def attempt(key: str, value: object = None, fail: bool = False) -> object:
    effect("attempt", value)
    if fail:
        raise ValueError("asked to")
    return value


@idempotent_task(key="key", on_duplicate="raise")
def raising(key: str) -> str:
    return key


@idempotent_task(key="key", on_duplicate="replace")
def latest(key: str, value: int, meanwhile: list[int] = ()) -> int:
    for number in meanwhile:
        latest.delay(key, number)
    effect("latest", value)
    return value


@idempotent_task(key="key", rerun="never", max_retries=0)
def never(key: str, fail: bool = False) -> str:
    effect("never", key)
    if fail:
        raise ValueError("asked to")
    return key


@idempotent_task(key="key", rerun="always")
def always(key: str, value: object = None) -> object:
    effect("always", value)
    return value


@idempotent_task(key="number", match=("amount",))
def matched(number: int, amount: int, note: str = "") -> int:
    return amount


def effects(name: str) -> list[str]:
    return list(Effect.objects.filter(name=name).order_by("pk").values_list("key", flat=True))


def test_a_duplicate_of_a_pending_operation_answers_its_handle(worker):
    first = charge.delay(1, amount=2)
    assert charge.delay(1).id == first.id
    assert charge.enqueue(number=1, amount=3).pk == Operation.objects.get().pk
    worker.drain()
    assert Operation.objects.get().result == 2


def test_a_duplicate_may_be_an_error_that_names_the_first(worker):
    first = raising.enqueue("a")
    with pytest.raises(DuplicateOperation, match=str(first.pk)) as caught:
        raising.delay("a")
    assert caught.value.operation == first


def test_on_duplicate_error_raises_no_more_when_the_first_has_ended(worker):
    raising.delay("a")
    worker.drain()
    assert raising.enqueue("a").state == State.SUCCEEDED


def test_on_duplicate_replace_gives_a_queued_operation_the_newest_arguments(worker):
    first = latest.delay("a", 1)
    assert latest.delay("a", 2).id == latest.delay("a", 3).id == first.id
    worker.drain()
    assert effects("latest") == ["3"]
    assert Operation.objects.get().result == 3


def test_on_duplicate_replace_of_what_runs_runs_the_newest_arguments_once_more(worker):
    latest.delay("a", 1, meanwhile=[2, 3])
    worker.drain()
    operation = Operation.objects.get()
    assert (operation.state, operation.result) == (State.SUCCEEDED, 3)
    assert effects("latest") == ["1", "3"]


def test_on_duplicate_replace_with_a_countdown_moves_the_start(worker):
    latest.delay("a", 1)
    latest.apply_async(("a", 2), countdown=600)
    assert Operation.objects.get().available_at > datetime.now(UTC) + timedelta(seconds=500)


def test_newer_arguments_that_replace_others_have_another_idempotency_key(worker):
    before = latest.enqueue("a", 1).idempotency_key
    latest.delay("a", 2)
    assert Operation.objects.get().idempotency_key != before


@pytest.mark.parametrize("end", [State.FAILED, State.CANCELLED])
def test_a_failed_or_cancelled_operation_is_rerun_in_its_row(worker, end):
    first = attempt.enqueue("a", 1, fail=True)
    if end == State.CANCELLED:
        first.cancel()
    worker.drain()
    assert Operation.objects.get().state == end
    again = attempt.delay("a", 2)
    assert again.id == str(first.pk)
    worker.drain()
    operation = Operation.objects.get()
    assert (operation.state, operation.result, operation.attempt, operation.error) == (State.SUCCEEDED, 2, 1, "")
    assert again.get(timeout=1) == 2


def test_the_old_outcome_is_not_taken_for_that_of_the_rerun(worker):
    first = attempt.delay("a", fail=True)
    worker.drain()
    with pytest.raises(ValueError, match="asked to"):
        first.get(timeout=1)
    again = attempt.delay("a", 2)
    assert again.state == "PENDING"


def test_an_operation_that_succeeded_is_not_rerun(worker):
    attempt.delay("a", 1)
    worker.drain()
    duplicate = attempt.enqueue("a", 2)
    assert (duplicate.state, duplicate.result) == (State.SUCCEEDED, 1)
    assert worker.take() == []


@pytest.mark.parametrize("fail", [False, True])
def test_a_task_with_rerun_never_keeps_the_first_outcome(worker, fail):
    never.delay("a", fail)
    worker.drain()
    ended = Operation.objects.get().state
    assert never.enqueue("a").state == ended == (State.FAILED if fail else State.SUCCEEDED)
    assert worker.take() == []


def test_a_task_with_rerun_always_runs_again_in_the_same_row(worker):
    first = always.enqueue("a", 1)
    worker.drain()
    assert always.enqueue("a", 2).pk == first.pk
    worker.drain()
    assert effects("always") == ["1", "2"]
    assert Operation.objects.get().result == 2


def test_the_rerun_of_a_success_is_new_work_to_other_systems_and_that_of_a_failure_is_not(worker):
    first = always.enqueue("a").idempotency_key
    worker.drain()
    assert always.enqueue("a").idempotency_key != first
    failed = attempt.enqueue("a", fail=True).idempotency_key
    worker.drain()
    assert attempt.enqueue("a").idempotency_key == failed


def test_a_task_with_rerun_always_does_not_run_twice_while_it_is_pending(worker):
    always.delay("a", 1)
    always.delay("a", 2)
    worker.drain()
    assert effects("always") == ["1"]


@pytest.mark.parametrize("ended", [False, True])
def test_a_key_with_other_matching_values_is_an_error(worker, ended):
    first = matched.enqueue(1, 10)
    if ended:
        worker.drain()
    with pytest.raises(KeyReused, match=rf"amount.*{first.pk}") as caught:
        matched.delay(1, 11)
    assert caught.value.operation == first
    assert matched.delay(1, 10, note="of no importance").id == str(first.pk)


def test_equal_keys_of_different_tasks_are_different_operations(worker):
    assert len({task.delay("a").id for task in (raising, never, always)}) == 3


def test_a_duplicate_among_many_that_is_an_error_writes_none_of_them(worker):
    first = raising.enqueue("b")
    with pytest.raises(DuplicateOperation, match=f"'b' is pending. Wait for it.*{first.pk}"):
        raising.enqueue_many([("a",), ("b",), ("c",)])
    assert Operation.objects.get() == first


def test_the_last_of_many_with_one_key_replaces_the_others(worker):
    latest.enqueue_many([("a", 3), ("b", 50), *[("a", number) for number in range(10, 20)]])
    worker.drain()
    assert sorted(effects("latest")) == ["19", "50"]


def test_a_result_backend_of_files_has_nothing_to_forget_of_what_never_ran(worker, tmp_path, monkeypatch, caplog):
    task = latest._get_current_object()
    monkeypatch.setattr(task, "_backend", FilesystemBackend(app=task.app, url=f"file://{tmp_path}"))
    latest.delay("a", 1)
    latest.delay("a", 2)
    worker.drain()
    assert effects("latest") == ["2"]
    assert "could not be forgotten" not in caplog.text


def test_apply_reruns_what_failed_and_returns_the_outcome_of_what_succeeded(worker):
    assert attempt.apply(("a",), {"fail": True}).state == "FAILURE"
    assert attempt.apply(("a", 2)).get() == 2
    assert attempt.apply(("a", 3)).get() == 2
    assert effects("attempt") == ["2"]


def test_apply_runs_what_is_queued_now_and_its_message_finds_the_outcome(worker):
    attempt.delay("a", 1)
    assert attempt.apply(("a", 2)).get() == 1
    worker.drain()
    assert effects("attempt") == ["1"]


def test_the_handle_of_a_finished_duplicate_knows_the_outcome_that_the_backend_forgot(worker):
    attempt.delay("a", 5)
    worker.drain()
    attempt._get_current_object().backend.forget(str(Operation.objects.get().pk))
    late = attempt.delay("a", 7)
    assert (late.get(timeout=0.1), late.state, effects("attempt")) == (5, "SUCCESS", ["5"])


@idempotent_task(key="key", max_retries=0, rerun="never")
def once(key: str, fail: bool = False) -> str:
    if fail:
        raise ValueError("asked to")
    return key


def test_the_handle_of_a_duplicate_of_what_failed_or_was_cancelled_knows_the_outcome_too(worker):
    once.delay("fails", fail=True)
    once.enqueue("cancelled").cancel("not needed")
    worker.drain()
    failed, cancelled = once.delay("fails"), once.delay("cancelled")
    for late in (failed, cancelled):
        once._get_current_object().backend.forget(late.id)
    with pytest.raises(ValueError, match="asked to"):
        failed.get(timeout=0.1)
    with pytest.raises(TaskRevokedError, match="not needed"):
        cancelled.get(timeout=0.1)
    assert (failed.state, cancelled.state) == ("FAILURE", "REVOKED")


def test_the_handle_of_a_pending_duplicate_knows_nothing_yet(worker):
    attempt.delay("a", 5)
    assert attempt.delay("a", 7).state == "PENDING"


def test_a_stored_result_that_cannot_be_read_any_more_is_left_to_the_result_backend(worker):
    attempt.delay("a", 5)
    worker.drain()
    Operation.objects.update(result_payload="!application/unknown!utf-8!AAAA")
    assert attempt.delay("a", 7).get(timeout=0.1) == 5
