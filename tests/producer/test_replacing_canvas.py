"""`self.replace()` by a canvas: who waits for the replaced operation hears of the canvas's outcome, wherever it is."""

from collections.abc import Callable
from typing import Any

import pytest
from celery import chain, chord, group

from django_task_safety import idempotent_task, safe_task
from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from tests.celery import app
from tests.testapp.models import Effect
from tests.testapp.tasks import add, double, effect, plain, total

State = Operation.State


@safe_task(bind=True)
def swaps(self, how: str) -> None:
    raise self.replace(CANVAS[how][0]())


@idempotent_task(key="n", bind=True)
def swaps_once(self, n: int) -> None:
    effect("swaps once", n)
    raise self.replace(chain(plain.s(n), total_of_one.s()))


@safe_task
def total_of_one(n: int) -> int:
    effect("total of one", n)
    return n


#: What replaces the task, and its value.
CANVAS: dict[str, tuple[Callable[[], Any], Any]] = {
    "a task": (lambda: add.s(1, 2), 3),
    "a plain task": (lambda: plain.s(3), 3),
    "a chain of one": (lambda: chain(add.s(1, 2)), 3),
    "a chain that ends with a key": (lambda: chain(add.s(1, 2), double.s()), 6),
    "a chain that ends without a key": (lambda: chain(plain.s(3), total_of_one.s()), 3),
    "a chain that begins plainly": (lambda: chain(plain.s(3), double.s()), 6),
    "a plain chain": (lambda: chain(plain.s(3), plain.s()), 3),
    "a group": (lambda: group(add.s(1, 2), add.s(3, 4)), [3, 7]),
    "a chord": (lambda: chord([add.s(1, 2), add.s(3, 4)], total.s()), 10),
}
#: How often it calls the plain task itself.
PLAIN_CALLS = {
    "a plain task": 1,
    "a chain that ends without a key": 1,
    "a chain that begins plainly": 1,
    "a plain chain": 2,
}
#: How it is called, and what the plain task after it gets.
CALLS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "in a chain": (lambda sig: chain(sig, plain.s())(), lambda value: value),
    "in a chord": (lambda sig: chord([sig, double.s(50)], plain.s())(), lambda value: [value, 100]),
    "with a link": (lambda sig: sig.apply_async(link=plain.s()), lambda value: value),
}


@pytest.fixture
def eager():
    app.conf.task_always_eager = True
    yield
    app.conf.task_always_eager = False


def effects(name: str) -> list[str]:
    return list(Effect.objects.filter(name=name).order_by("pk").values_list("key", flat=True))


@pytest.mark.parametrize("how", CANVAS)
@pytest.mark.parametrize("where", CALLS)
def test_what_comes_after_a_task_replaced_by_a_canvas_comes_after_the_canvas(worker, where, how):
    call, after = CALLS[where]
    result = call(swaps.s(how))
    worker.finish()
    worker.drain()
    value = CANVAS[how][1]
    assert effects("plain")[-1:] == [str(after(value))]
    assert len(effects("plain")) == 1 + PLAIN_CALLS.get(how, 0)
    assert result.get(timeout=1) == (value if where == "with a link" else after(value))
    assert not Operation.all_rows.exclude(state=State.SUCCEEDED).exists()


@pytest.mark.parametrize("how", CANVAS)
def test_the_handle_of_a_task_replaced_by_a_canvas_gets_the_canvas_value(worker, how):
    result = swaps.delay(how)
    worker.finish()
    assert result.get(timeout=1) == CANVAS[how][1]
    assert Operation.objects.get(pk=result.id).state == State.SUCCEEDED


def test_the_last_task_of_a_replacing_canvas_runs_once_per_key(worker):
    double.delay(3)
    worker.drain()
    result = chain(swaps.s("a chain that ends with a key"), plain.s())()
    swaps.delay("a chain that ends with a key")
    worker.finish()
    double.delay(3)
    worker.finish()
    assert result.get(timeout=1) == 6
    assert effects("double") == ["3"]


def test_a_key_that_was_first_used_by_a_replacing_canvas_is_remembered(worker):
    swaps.delay("a chain that ends with a key")
    worker.finish()
    double.delay(3)
    worker.finish()
    assert effects("double") == ["3"]


def test_the_key_of_a_task_replaced_by_a_canvas_still_stands_for_it(worker):
    results = [swaps_once.delay(7)]
    worker.finish()
    results.append(swaps_once.delay(7))
    worker.finish()
    assert [result.get(timeout=1) for result in results] == [7, 7]
    assert (effects("swaps once"), effects("total of one")) == (["7"], ["7"])


def test_copies_of_every_message_of_a_replacing_canvas_change_nothing(worker):
    result = chain(swaps.s("a chain that ends with a key"), plain.s())()
    delivered = []
    while messages := worker.take():
        for message in messages:
            delivered.append(message)
            worker.deliver(message)
            worker.deliver(message)
    for message in delivered:
        if message.headers["task"] != plain.name:
            worker.deliver(message)
    worker.finish()
    assert result.get(timeout=1) == 6
    assert (effects("add"), effects("double")) == (["(1, 2)"], ["3"])


@pytest.mark.parametrize("how", ["a chain that ends with a key", "a chain that ends without a key"])
def test_what_comes_after_a_task_replaced_by_a_canvas_survives_the_loss_of_the_messages(worker, how):
    result = chain(swaps.s(how), plain.s())()
    ended = worker.deliver(worker.take_one())
    assert ended.state == "IGNORED"
    (message,) = worker.take()
    worker.deliver(message)
    assert worker.take()
    worker.finish()
    assert result.get(timeout=1) == CANVAS[how][1]


def test_a_message_sent_by_name_with_the_id_of_a_replaced_task_goes_on_in_its_row(worker):
    result = swaps.delay("a plain chain")
    worker.deliver_one()
    worker.take()
    app.send_task(double.name, (3,), task_id=result.id, link=plain.s())
    worker.finish()
    double.delay(3)
    worker.finish()
    assert (effects("double"), effects("plain")) == (["3"], ["6"])
    assert Operation.objects.get(pk=result.id).result == 6


@pytest.mark.parametrize("how", CANVAS)
@pytest.mark.parametrize("where", CALLS)
def test_in_eager_mode_a_task_may_be_replaced_by_a_canvas(worker, eager, where, how):
    call, after = CALLS[where]
    result = call(swaps.s(how))
    value = after(CANVAS[how][1])
    assert result.get(timeout=1) == (CANVAS[how][1] if where == "with a link" else value)
    app.conf.task_always_eager = False
    worker.pass_time(100)
    sweeper.sweep()
    worker.drain()
    assert effects("plain")[-1] == str(value)
    assert len(effects("plain")) == 1 + PLAIN_CALLS.get(how, 0)
