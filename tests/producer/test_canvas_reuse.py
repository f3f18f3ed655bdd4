"""What is applied twice is done twice, as with plain tasks, unless the key says that it is the same work."""

import uuid
from datetime import timedelta

import pytest
from celery import VERSION, chain, chord, group, maybe_signature, shared_task
from django.db.models import F

from django_task_safety import InvalidOption, idempotent_task, safe_task
from django_task_safety.ledger import schedule
from django_task_safety.models import Operation
from tests.celery import app
from tests.testapp.models import Effect
from tests.testapp.tasks import effect

TASKS = {}
for kind, decorator in (("plain", shared_task), ("safe", safe_task)):

    @decorator(name=f"tests.reuse.{kind}.add")
    def add(x: int, y: int) -> int:
        effect("add", f"{x}+{y}")
        return x + y

    @decorator(name=f"tests.reuse.{kind}.total")
    def total(numbers: list[int]) -> int:
        effect("total", sorted(numbers))
        return sum(numbers)

    TASKS[kind] = (add, total)


@idempotent_task(key="n", name="tests.reuse.once")
def once(n: int) -> int:
    effect("once", n)
    return n


@pytest.fixture(params=TASKS)
def tasks(request, worker):
    return TASKS[request.param]


@pytest.fixture
def eager():
    app.conf.task_always_eager = True
    yield
    app.conf.task_always_eager = False


def ran() -> list[str]:
    return sorted(Effect.objects.values_list("key", flat=True))


def get(result):
    return result.get(timeout=1, disable_sync_subtasks=False)


def frozen(signature):
    signature.freeze()
    return signature


CANVASES = {
    "a chain": (lambda add, total: chain(add.s(1, 1), add.s(2)), 4, ["1+1", "2+2"]),
    "a frozen chain": (lambda add, total: frozen(chain(add.s(1, 1), add.s(2))), 4, ["1+1", "2+2"]),
    "a frozen task": (lambda add, total: frozen(add.s(1, 1)), 2, ["1+1"]),
    "a group": (lambda add, total: group(add.s(1, 1), add.s(2, 1)), [2, 3], ["1+1", "2+1"]),
    "a frozen group": (lambda add, total: frozen(group(add.s(1, 1), add.s(2, 1))), [2, 3], ["1+1", "2+1"]),
    "a chord": (lambda add, total: chord([add.s(1, 1), add.s(2, 1)], total.s()), 5, ["1+1", "2+1", "[2, 3]"]),
    "a frozen chord": (
        lambda add, total: frozen(chord([add.s(1, 1), add.s(2, 1)], total.s())),
        *(5, ["1+1", "2+1", "[2, 3]"]),
    ),
    "a chord in a chain": (
        lambda add, total: chain(add.s(1, 1), group(add.s(1), add.s(2)), total.s()),
        *(7, ["1+1", "2+1", "2+2", "[3, 4]"]),
    ),
    "a chain of a frozen one": (lambda add, total: chain(frozen(add.s(1, 1)), add.s(2)), 4, ["1+1", "2+2"]),
    "a chain that ends with a frozen one": (lambda add, total: chain(add.s(1, 1), frozen(add.s(2))), 4, ["1+1", "2+2"]),
}


def skip_where_celery_does_not(name: str) -> None:
    if VERSION < (5, 7) and name == "a chord":
        pytest.skip("before 5.7 Celery uses the ids of a chord's header again, and loses the count")


@pytest.mark.parametrize("times", [2, 3])
@pytest.mark.parametrize("name", CANVASES)
def test_a_canvas_that_is_applied_again_runs_again(worker, tasks, name, times):
    skip_where_celery_does_not(name)
    make, value, effects = CANVASES[name]
    canvas = make(*tasks)
    for _ in range(times):
        result = canvas.apply_async()
        worker.drain()
        assert get(result) == value
    assert ran() == sorted(effects * times)
    assert not Operation.objects.pending().exists()


@pytest.mark.parametrize("name", ["a chain", "a frozen task", "a group", "a chord", "a chain of a frozen one"])
def test_a_canvas_that_is_applied_again_before_it_ran_runs_twice(worker, tasks, name):
    skip_where_celery_does_not(name)
    make, value, effects = CANVASES[name]
    canvas = make(*tasks)
    results = [canvas.apply_async() for _ in range(2)]
    worker.drain()
    assert [get(result) for result in results] == [value, value]
    assert ran() == sorted(effects * 2)


USES = {
    "alone": (lambda signature, add, total: signature, 2),
    "first in a chain": (lambda signature, add, total: chain(signature, add.s(1)), 3),
    "in a group": (lambda signature, add, total: group(signature, add.s(2, 2)), [2, 4]),
    "in a chord": (lambda signature, add, total: chord([signature, add.s(2, 2)], total.s()), 6),
    "as a callback": (lambda signature, add, total: add.s(2, 2).set(link=signature.set(immutable=True)), 4),
}


@pytest.mark.parametrize("use", USES)
def test_a_frozen_signature_that_ran_can_be_used_elsewhere(worker, tasks, use):
    make, value = USES[use]
    signature = frozen(tasks[0].s(1, 1))
    signature.apply_async()
    worker.drain()
    result = make(signature, *tasks).apply_async()
    worker.drain()
    assert get(result) == value
    assert ran().count("1+1") == 2


def test_a_task_id_that_is_used_again_is_new_work_on_the_same_row(worker):
    safe_add, _ = TASKS["safe"]
    mine = str(uuid.uuid4())
    assert safe_add.apply_async((1, 1), task_id=mine).id == mine
    first = Operation.objects.get().idempotency_key
    worker.drain()
    assert safe_add.apply_async((2, 2), task_id=mine).id == mine
    worker.drain()
    operation = Operation.objects.get()
    assert (str(operation.pk), operation.result, operation.generation) == (mine, 4, 1)
    assert operation.idempotency_key != first


def test_a_task_id_whose_operation_is_pending_gets_a_row_of_its_own(worker):
    safe_add, _ = TASKS["safe"]
    mine = str(uuid.uuid4())
    results = [safe_add.apply_async((number, 0), task_id=mine) for number in (1, 2)]
    assert results[0].id == mine != results[1].id
    worker.drain()
    assert [get(result) for result in results] == [1, 2]


def test_a_task_id_of_another_tasks_pending_operation_is_refused(worker):
    safe_add, safe_total = TASKS["safe"]
    mine = safe_add.delay(1, 1).id
    with pytest.raises(InvalidOption, match=mine):
        safe_total.apply_async(([1],), task_id=mine)


def test_the_key_says_that_a_canvas_applied_again_is_the_same_work(worker):
    canvas = frozen(chain(once.s(3), TASKS["safe"][0].s(1)))
    for _ in range(2):
        result = canvas.apply_async()
        worker.finish()
        assert get(result) == 4
    assert ran() == ["3", "3+1", "3+1"]


def test_a_frozen_signature_with_a_key_answers_with_the_same_operation(worker):
    signature = frozen(once.s(3))
    first = signature.apply_async()
    again = signature.apply_async()
    worker.drain()
    assert first.id == again.id == signature.apply_async().id
    assert ran() == ["3"]


CALLED = ["a chain", "a frozen chain", "a chord", "a frozen chord", "a chord in a chain", "a chain of a frozen one"]


@pytest.mark.parametrize("name", CALLED)
def test_a_copy_of_a_message_calls_nobody_once_more(worker, name, monkeypatch):
    """What a worker calls when a task has ended runs once, also if it dies before it notes that it called."""

    def call_body(request, state, result, **kwargs):
        # As if each of the header's tasks took itself for the last one.
        if request.chord:
            maybe_signature(request.chord, app=app).delay([2, 3] if "in a" not in name else [3, 4])

    monkeypatch.setattr(app.backend, "on_chord_part_return", call_body, raising=False)
    monkeypatch.setattr(schedule, "mark_delivered", lambda *args, **kwargs: 0)
    make, _, effects = CANVASES[name]
    canvas = make(*TASKS["safe"])
    for times in (1, 2, 3):
        canvas.apply_async()
        while messages := worker.take():
            for message in messages * 2:
                # So long ago that nobody else may be telling those who wait.
                Operation.all_rows.update(ended_at=F("ended_at") - timedelta(hours=1))
                worker.deliver(message)
        assert ran() == sorted(effects * times)
        # Everybody heard of it in the end.
        Operation.all_rows.update(delivered=True)


@pytest.mark.parametrize("name", [name for name in CANVASES if "group" not in name])
def test_in_eager_mode_a_canvas_with_an_id_runs_through_and_again(worker, eager, tasks, name):
    make, value, effects = CANVASES[name]
    canvas = make(*tasks)
    mine = str(uuid.uuid4())
    for _ in range(2):
        assert get(canvas.apply_async(task_id=mine)) == value
    assert ran() == sorted(effects * 2)


def test_in_eager_mode_a_chain_of_several_tasks_may_have_an_id(worker, eager):
    safe_add, _ = TASKS["safe"]
    result = chain(safe_add.s(1, 1), once.s(), safe_add.s(3)).apply_async(task_id=str(uuid.uuid4()))
    assert (result.get(), ran()) == (5, ["1+1", "2", "2+3"])


@pytest.mark.parametrize(
    "call",
    [
        lambda add: chain(add.si(1, 1), add.si(1, 2)).apply_async(task_id="mine"),
        lambda add: chain(add.si(1, 1), add.si(1, 2).set(task_id="mine")).delay(),
        lambda add: add.apply_async((1, 1), link=add.si(1, 2).set(task_id="mine")),
        lambda add: add.apply_async((1, 1), link_error=add.si(1, 2).set(task_id="mine")),
    ],
    ids=["chain", "step", "link", "link_error"],
)
def test_an_id_that_the_next_safe_task_could_not_have_is_refused_at_the_call(worker, call):
    with pytest.raises(InvalidOption, match="'mine' is not a UUID"):
        call(TASKS["safe"][0])
    assert not Operation.all_rows.exists()
