"""A call whose row takes newer arguments stays part of its canvas, which goes on with what comes of it."""

from collections.abc import Callable

import pytest
from celery import chain, chord
from django.db import transaction

from django_task_safety import idempotent_task, ledger, safe_task
from django_task_safety.models import Operation
from django_task_safety.producer.outcome import IN_DELIVERY
from django_task_safety.worker import sweeper
from tests.celery import app
from tests.support.delivering import statements
from tests.testapp.models import Effect
from tests.testapp.tasks import add, effect, total

State = Operation.State
#: What happens, once, while a body runs.
MEANWHILE: list[Callable[[], object]] = []


def run(value: int) -> int:
    while MEANWHILE:
        MEANWHILE.pop()()
    effect("run", value)
    return value


@idempotent_task(key="key", on_duplicate="replace")
def latest(key: str, value: int) -> int:
    return run(value)


@idempotent_task(key="key", version="version")
def versioned(key: str, version: int) -> int:
    return run(version)


@idempotent_task(key="key", on_duplicate="replace", atomic=False, max_retries=0)
def stumbles(key: str, value: int) -> int:
    run(value)
    if value == 1:
        raise ValueError("one")
    return value


@idempotent_task(key="key", on_duplicate="replace", max_retries=0)
def fragile(key: str, value: int) -> int:
    return run(value)


@idempotent_task(key="key", rerun="always")
def always(key: str, value: int) -> int:
    return run(value)


@safe_task(atomic=False)
def slow(value: int) -> int:
    return run(value)


@idempotent_task(key="key", bind=True)
def becomes_six(self, key: str) -> None:
    raise self.replace(chain(add.s(1, 2), add.s(3)))


#: Where the call is, and what the end is when the outcome of the newer one, 2, counts there.
PLACES = {
    "in a chain": (lambda call: chain(call, add.s(10))(), 12),
    "in a chord": (lambda call: chord([call, add.s(1, 1)])(total.s()), 4),
    "with a link": (lambda call: call.apply_async(link=add.s(10)), 2),
}


@pytest.fixture(autouse=True)
def nothing_meanwhile():
    yield
    MEANWHILE.clear()


def meanwhile(happens: Callable[[], object]) -> None:
    MEANWHILE.append(happens)


def runs() -> list[str]:
    return list(Effect.objects.filter(name="run").order_by("pk").values_list("key", flat=True))


def went_on(where: str) -> int:
    """Return how often what comes after the call ran with the newer value."""
    found = {"in a chord": ("total", "[2, 2]")}.get(where, ("add", "(2, 10)"))
    return Effect.objects.filter(name=found[0], key=found[1]).count()


@pytest.mark.parametrize("task", [latest, versioned])
@pytest.mark.parametrize("order", ["as sent", "overtaken", "the first lost"])
@pytest.mark.parametrize("where", PLACES)
def test_a_canvas_goes_on_after_newer_arguments_of_a_queued_call(worker, where, order, task):
    call, value = PLACES[where]
    result = call(task.s("a", 1))
    task.delay("a", 2)
    first, *others = worker.take()
    for message in {"as sent": [first, *others], "overtaken": [*reversed(others), first]}.get(order, others):
        worker.deliver(message)
    worker.finish()
    assert result.get(timeout=1) == value
    assert (runs(), went_on(where)) == (["2"], 1)


@pytest.mark.parametrize("where", PLACES)
def test_a_canvas_goes_on_once_with_the_newest_arguments_of_a_running_call(worker, where):
    call, value = PLACES[where]
    result = call(latest.s("a", 1))
    meanwhile(lambda: latest.delay("a", 2))
    worker.finish()
    assert result.get(timeout=1) == value
    assert (runs(), went_on(where)) == (["1", "2"], 1)
    assert not Operation.all_rows.filter(delivered=False).exists()


@pytest.mark.parametrize("where", PLACES)
def test_a_canvas_goes_on_with_newer_arguments_that_waited_when_the_call_failed(worker, where):
    call, value = PLACES[where]
    result = call(stumbles.s("a", 1))
    meanwhile(lambda: stumbles.delay("a", 2))
    worker.finish()
    assert result.get(timeout=1) == value
    assert (runs(), went_on(where)) == (["1", "2"], 1)


@pytest.mark.parametrize("where", PLACES)
def test_a_canvas_goes_on_with_newer_arguments_that_waited_when_the_worker_died(worker, where):
    call, value = PLACES[where]
    result = call(latest.s("a", 1))
    operation = Operation.objects.get(task=latest.name)
    messages = worker.take()
    assert ledger.claim(operation.pk, "a worker that dies", 30, None).claimed
    latest.delay("a", 2)
    for message in messages:
        if message.headers["id"] != str(operation.pk):
            worker.deliver(message)
    worker.finish()
    assert result.get(timeout=1) == value
    assert (runs(), went_on(where)) == (["2"], 1)


def test_both_canvases_that_wait_for_one_operation_hear_of_its_outcome(worker):
    latest.apply_async(("a", 1), link=add.s(10))
    latest.apply_async(("a", 2), link=add.s(20))
    worker.finish()
    assert runs() == ["2"]
    assert sorted(Effect.objects.filter(name="add").values_list("key", flat=True)) == ["(2, 10)", "(2, 20)"]


@pytest.mark.parametrize("again", [False, True])
def test_a_chord_ends_whose_cancelled_task_is_asked_for_again(worker, again):
    result = chord([latest.s("a", 1), add.s(1, 1)])(total.s())
    Operation.objects.get(task=latest.name).cancel()
    if again:
        latest.delay("a", 2)
    for message in reversed(worker.take()):
        worker.deliver(message)
    worker.finish()
    assert result.state == ("SUCCESS" if again else "FAILURE")


@pytest.mark.parametrize("task", [latest, versioned])
def test_the_result_backend_keeps_the_outcome_of_the_newest_arguments(worker, task):
    result = task.delay("a", 1)
    meanwhile(lambda: (task.delay("a", 2), task.delay("a", 3)))
    worker.finish()
    assert runs() == ["1", "3"]
    assert Operation.objects.get().result == result.get(timeout=1) == app.AsyncResult(result.id).get(timeout=1) == 3


def test_newer_arguments_that_came_before_a_sweep_are_swept_with_those_who_wait(worker):
    result = chain(latest.s("a", 1), add.s(10))()
    latest.delay("a", 2)
    worker.take()
    worker.pass_time(3600)
    sweeper.sweep()
    worker.finish()
    assert result.get(timeout=1) == 12


def passes(worker, seconds: float) -> None:
    worker.pass_time(seconds)
    sweeper.sweep()
    worker.finish()


@pytest.mark.parametrize("where", PLACES)
def test_a_newer_message_that_comes_while_an_older_one_calls_back_calls_nobody_again(worker, where):
    call, value = PLACES[where]
    result = call(latest.s("a", 1))
    latest.delay("a", 2)
    pk = str(Operation.objects.get(task=latest.name).pk)
    messages = worker.take()
    newer = [message for message in messages if message.headers["id"] == pk][1]
    meanwhile(lambda: transaction.on_commit(lambda: worker.deliver(newer)))
    for message in messages:
        if message is not newer:
            worker.deliver(message)
    worker.finish()
    assert result.get(timeout=1) == value
    assert (runs(), went_on(where)) == (["2"], 1)


def test_who_waits_for_an_operation_whose_last_attempt_died_hears_of_newer_arguments(worker):
    result = chain(fragile.s("a", 1), add.s(10))()
    worker.take()
    assert ledger.claim(Operation.objects.get().pk, "a worker that dies", 30, None).claimed
    worker.pass_time(31)
    sweeper.sweep()
    operation = Operation.objects.get()
    assert (operation.state, operation.delivered) == (State.FAILED, False)
    worker.pass_time(IN_DELIVERY)
    fragile.delay("a", 2)
    worker.finish()
    passes(worker, 3600)
    assert (result.get(timeout=1), went_on("in a chain")) == (12, 1)


def test_who_waits_for_an_operation_that_succeeded_as_its_worker_died_hears_of_the_next_run(worker):
    result = chain(always.s("a", 1), add.s(10))()
    worker.take()
    seen = ledger.claim(Operation.objects.get().pk, "a worker that dies", 30, None)
    assert ledger.settle(seen.operation, "1")
    worker.pass_time(IN_DELIVERY)
    always.delay("a", 2)
    worker.finish()
    passes(worker, 3600)
    assert (result.get(timeout=1), went_on("in a chain")) == (12, 1)


@pytest.mark.parametrize("where", PLACES)
def test_an_attempt_that_lost_its_lease_calls_no_callbacks_again(worker, where):
    call, value = PLACES[where]
    result = call(slow.s(2))

    def overtaken():
        worker.pass_time(31)
        sweeper.sweep()
        for message in worker.take():
            worker.deliver(message)

    meanwhile(overtaken)
    worker.finish()
    assert result.get(timeout=1) == value
    assert went_on(where) == 1


def test_a_call_keeps_its_canvas_where_the_row_that_was_in_its_way_is_gone(worker, monkeypatch):
    enqueue, tries = ledger.enqueue, []

    def at_second(operations):
        tries.append(operations)
        return enqueue(operations) if len(tries) > 1 else []

    monkeypatch.setattr(ledger, "enqueue", at_second)
    result = chain(latest.s("a", 1), add.s(10))()
    monkeypatch.undo()
    assert not Operation.objects.get().delivered
    worker.finish()
    assert result.get(timeout=1) == 11


def test_the_handle_of_a_task_that_replaced_itself_waits_for_the_replacement(worker):
    becomes_six.delay("a")
    worker.deliver_one()
    early = becomes_six.delay("a")
    worker.finish()
    assert early.get(timeout=1) == becomes_six.delay("a").get(timeout=1) == 6


def test_a_duplicate_of_an_operation_with_callbacks_costs_two_statements_as_any_other(worker):
    chain(latest.s("a", 1), add.s(10))()
    worker.finish()
    Operation.objects.filter(task=latest.name).update(delivered=False)
    with statements() as found:
        latest.enqueue("a", 2)
    assert len(found) <= 2
