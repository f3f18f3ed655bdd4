"""Who holds the id of an operation that replaced itself finds it, and sees how it stands."""

import pytest

from django_task_safety import idempotent_task, safe_task
from django_task_safety.models import Operation
from tests.celery import app
from tests.testapp.models import Effect
from tests.testapp.tasks import act, effect, plain, record

State = Operation.State


@idempotent_task(key="key", max_retries=0)
def shared(key: str, fail: bool = False) -> str:
    if fail:
        raise ValueError("the replacement's own")
    effect("shared", key)
    return key


@safe_task(bind=True)
def hands_over(self, key: str, fail: bool = False) -> None:
    effect("hands over", key)
    raise self.replace(shared.si(key, fail))


@idempotent_task(key="name", bind=True)
def keyed(self, name: str, key: str) -> None:
    effect("keyed", name)
    raise self.replace(shared.si(key))


@safe_task(bind=True)
def in_two_minutes(self) -> None:
    raise self.replace(record.si("later").set(countdown=120))


def ran(name: str) -> int:
    return Effect.objects.filter(name=name).count()


def test_a_replaced_operation_is_pending_until_its_replacement_has_ended(worker):
    operation = hands_over.enqueue("a")
    worker.deliver_one()
    assert Operation.objects.get(pk=operation.pk).state == State.QUEUED
    assert operation in Operation.objects.pending()
    worker.drain()
    ended = Operation.objects.get(pk=operation.pk)
    assert (ended.state, ended.result, ended.progress) == (State.SUCCEEDED, "a", 1.0)


def test_a_replaced_operation_fails_with_its_replacement(worker):
    operation = hands_over.enqueue("a", fail=True)
    worker.drain()
    ended = Operation.objects.get(pk=operation.pk)
    assert ended.state == State.FAILED
    assert "the replacement's own" in ended.error


def test_a_replaced_operation_can_be_retried_with_its_replacement(worker):
    operation = hands_over.enqueue("a", fail=True)
    worker.drain()
    shared.delay("a")
    worker.drain()
    assert Operation.objects.get(pk=operation.pk).retry()
    worker.drain()
    assert Operation.objects.get(pk=operation.pk).state == State.SUCCEEDED


def test_two_operations_replaced_by_one_call_are_both_found_and_it_runs_once(worker):
    both = [hands_over.enqueue("a") for _ in range(2)]
    worker.drain()
    assert [Operation.objects.get(pk=one.pk).result for one in both] == ["a", "a"]
    assert ran("shared") == 1


def test_the_key_of_a_replaced_operation_still_stands_for_it(worker):
    first = keyed.enqueue("mine", "a")
    worker.drain()
    assert keyed.enqueue("mine", "a").pk == first.pk
    assert worker.take() == []
    assert (ran("keyed"), ran("shared")) == (1, 1)


@pytest.mark.parametrize("ended", [False, True])
def test_a_copy_of_a_replaced_message_does_not_run_the_task_again(worker, ended):
    hands_over.delay("a")
    message = worker.take_one()
    worker.deliver(message)
    if ended:
        worker.drain()
    worker.deliver(message)
    worker.drain()
    assert (ran("hands over"), ran("shared")) == (1, 1)


def test_rows_of_duplicates_that_only_wait_are_left_out_of_objects(worker):
    shared.delay("a")
    app.send_task(shared.name, ("a",))
    worker.drain()
    assert (Operation.objects.count(), Operation.all_rows.count()) == (1, 2)


def test_a_replacement_with_a_countdown_waits(worker):
    in_two_minutes.delay()
    worker.drain()
    assert ran("later") == 0
    worker.finish()
    assert ran("later") == 1


@safe_task(bind=True)
def hands_over_to_a_plain_task(self) -> None:
    effect("hands over", "")
    raise self.replace(plain.si("the plain one's"))


@pytest.mark.parametrize("task", [act, hands_over_to_a_plain_task])
@pytest.mark.parametrize("sent", [False, True])
@pytest.mark.parametrize("ended", [False, True])
def test_a_copy_of_a_replaced_message_does_not_answer_for_the_replacement(worker, task, sent, ended):
    arguments = ("replace",) if task is act else ()
    result = app.send_task(task.name, arguments) if sent else task.delay(*arguments)
    message = worker.take_one()
    worker.deliver(message)
    if ended:
        worker.drain()
    assert worker.deliver(message).state == "IGNORED"
    worker.drain()
    assert result.get(timeout=1) == ("replacement" if task is act else "the plain one's")
    assert ran("hands over") + ran("replace") == 1
