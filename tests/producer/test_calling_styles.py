"""Each of Celery's ways to call a task makes one operation, runs once, and passes its value on."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from celery import chain, chord, group, shared_task, signature
from celery.beat import Scheduler
from celery.schedules import schedule
from django.utils import timezone

from django_task_safety import DuplicateOperation, idempotent_task, safe_task
from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from tests.celery import app
from tests.testapp.models import Effect
from tests.testapp.tasks import add, double, effect, plain, total

State = Operation.State
HOUR = 3600


@safe_task
def heard(*values: object) -> None:
    effect("heard", values)


@shared_task
def heard_plainly(*values: object) -> None:
    effect("heard", values)


@shared_task
def heard_of_error(request: Any, exc: BaseException, traceback: object) -> None:
    effect("error", exc)


@safe_task
def heard_of_error_safely(task_id: str) -> None:
    effect("error by id", task_id)


@safe_task
def fails() -> None:
    raise ValueError("no")


@idempotent_task(key="n", on_duplicate="raise")
def strict(n: int) -> int:
    effect("strict", n)
    return n


@idempotent_task(key="n", rerun="never")
def never(n: int) -> None:
    raise ValueError(f"no {n}")


def effects(name: str) -> list[str]:
    return list(Effect.objects.filter(name=name).order_by("pk").values_list("key", flat=True))


def soon() -> datetime:
    return timezone.now() + timedelta(seconds=20)


CALLS = {
    "delay": lambda: add.delay(1, b=2),
    "apply_async": lambda: add.apply_async((1,), {"b": 2}),
    "countdown": lambda: add.apply_async((1, 2), countdown=20),
    "long countdown": lambda: add.apply_async((1, 2), countdown=3600),
    "eta": lambda: add.apply_async((1, 2), eta=soon()),
    "expires": lambda: add.apply_async((1, 2), expires=60),
    "queue": lambda: add.apply_async((1, 2), queue="celery"),
    "priority": lambda: add.apply_async((1, 2), priority=3),
    "signature": lambda: add.s(1, 2).delay(),
    "partial signature": lambda: add.s(1).apply_async((), {"b": 2}),
    "partial signature's positional": lambda: add.s(2).delay(1),
    "immutable signature": lambda: add.si(1, 2).apply_async(),
    "signature with options": lambda: add.signature((1, 2), countdown=5, priority=2).delay(),
    "signature by name": lambda: signature(add.name, args=(1, 2), app=app).delay(),
    "clone of a signature": lambda: add.s(1).clone(kwargs={"b": 2}).delay(),
    "signature with later options": lambda: add.s(1, 2).set(countdown=3).apply_async(),
    "send_task": lambda: app.send_task(add.name, args=[1], kwargs={"b": 2}, countdown=5),
    "enqueue": lambda: add.AsyncResult(str(add.enqueue(1, 2).pk)),
    "enqueue_many": lambda: add.AsyncResult(str(add.enqueue_many([(1, 2)])[0].pk)),
    "chain of one": lambda: chain(add.s(1, 2)).apply_async(),
}


@pytest.mark.parametrize("how", CALLS)
def test_a_call_is_one_operation_that_runs_once(worker, how):
    result = CALLS[how]()
    worker.finish()
    worker.drain()
    operation = Operation.objects.get()
    assert (str(operation.pk), operation.state, operation.result, operation.attempt) == (
        result.id,
        State.SUCCEEDED,
        3,
        1,
    )
    assert result.get(timeout=1) == 3
    assert len(effects("add")) == 1


@pytest.mark.parametrize("callback", [heard, heard_plainly])
def test_a_link_callback_is_called_once_with_the_value(worker, callback):
    add.apply_async((1, 2), link=callback.s())
    messages = worker.take()
    for message in [*messages, *messages]:
        worker.deliver(message)
    worker.finish()
    assert effects("heard") == ["(3,)"]


def test_an_immutable_link_callback_gets_its_own_arguments(worker):
    add.apply_async((1, 2), link=[heard.si("a"), heard.si("b")])
    worker.finish()
    assert sorted(effects("heard")) == ["('a',)", "('b',)"]


def test_an_errback_hears_of_the_failure_and_a_link_does_not(worker):
    result = fails.apply_async(link=heard.s(), link_error=[heard_of_error.s(), heard_of_error_safely.s()])
    worker.finish()
    worker.drain()
    assert effects("error") == ["no"]
    assert effects("heard") == []
    assert Operation.objects.get(pk=result.id).state == State.FAILED


@pytest.mark.parametrize("last", [heard, heard_plainly])
def test_the_last_task_of_a_chain_is_called_once_whatever_time_passes(worker, last):
    chain(add.s(1, 2), last.s())()
    worker.finish()
    worker.drain()
    worker.pass_time(HOUR)
    assert not sweeper.sweep()
    assert worker.take() == []
    assert effects("heard") == ["(3,)"]


def test_a_chain_goes_on_with_plain_tasks_between(worker):
    result = chain(add.s(1, 2), plain.s(), double.s(), plain.si("last"))()
    worker.finish()
    assert result.get(timeout=1) == "last"
    assert (effects("add"), effects("double"), effects("plain")) == (["(1, 2)"], ["3"], ["3", "last"])


def test_a_group_in_a_chain_becomes_a_chord(worker):
    result = (double.s(1) | group(add.s(1), add.s(2)) | total.s()).delay()
    worker.finish()
    assert result.get(timeout=1) == 7
    assert effects("total") == ["[3, 4]"]


def test_a_group_answers_in_order(worker):
    result = group(add.s(n, n) for n in range(4)).apply_async()
    worker.finish()
    assert result.get(timeout=1) == [0, 2, 4, 6]


def test_a_group_of_duplicates_of_a_failure_fails_and_calls_no_body(worker):
    result = chord([never.s(1), never.s(1), add.s(2, 2)], total.s())()
    worker.finish()
    with pytest.raises(ValueError, match="no 1"):
        result.get(timeout=1)
    assert (effects("total"), effects("add")) == ([], ["(2, 2)"])
    assert Operation.objects.get(task=never.name).attempt == 1


TOGETHER = {
    "map": (lambda: double.map([1, 2]), [2, 4]),
    "starmap": (lambda: add.starmap([(1, 2), (3, 4)]), [3, 7]),
    "chunks": (lambda: add.chunks([(1, 2), (3, 4), (5, 6)], 2), [[3, 7], [11]]),
}


@pytest.mark.parametrize("canvas", TOGETHER)
def test_chunks_and_starmap_are_plain_calls(worker, canvas):
    signature, value = TOGETHER[canvas]
    result = signature().delay()
    worker.finish()
    assert result.get(timeout=1) == value
    assert not Operation.objects.exists()


def test_beat_enqueues_an_operation(worker):
    scheduler = Scheduler(app=app, lazy=True)
    entry = scheduler.Entry(
        "name", task=add.name, schedule=schedule(10), args=(1, 2), kwargs={}, options={"expires": 60}, app=app
    )
    result = scheduler.apply_async(entry, advance=False)
    assert Operation.objects.get(pk=result.id).state == State.QUEUED
    worker.finish()
    assert result.get(timeout=1) == 3


def test_apply_of_a_canvas_runs_in_the_caller(worker):
    assert chain(add.s(1, 2), double.s()).apply().get() == 6
    assert group(add.s(1, 1), add.s(2, 2)).apply().get() == [2, 4]
    assert add.s(4, 5).apply().get() == 9
    assert Operation.objects.exclude(state=State.SUCCEEDED).count() == 0


def test_calling_a_signature_itself_is_a_plain_call(worker):
    assert add.s(1, 2)() == 3
    assert not Operation.objects.exists()


@pytest.mark.parametrize("head", [plain, double])
@pytest.mark.parametrize(
    "canvas",
    [
        lambda head: chain(head.s(4), strict.si(8))(),
        lambda head: chord([head.s(4)], strict.si(8))(),
        lambda head: chain(head.s(4), group(strict.si(8), strict.si(8)))(),
    ],
    ids=["in a chain", "after a chord", "in a group in a chain"],
)
def test_a_pending_duplicate_does_not_break_a_canvas_that_a_worker_goes_on_with(worker, head, canvas):
    strict.delay(8)
    (first,) = worker.take()
    result = canvas(head)
    for message in worker.take():
        assert worker.deliver(message).state == "SUCCESS"
    worker.deliver(first)
    worker.finish()
    assert result.get(timeout=1) in (8, [8, 8])
    assert effects("strict") == ["8"]


def test_a_pending_duplicate_is_an_error_to_who_calls_a_canvas(worker):
    strict.delay(8)
    for canvas in (chain(strict.s(8), plain.s()), group(strict.s(8), strict.s(9)), chord([strict.s(8)], plain.s())):
        with pytest.raises(DuplicateOperation):
            canvas()
