"""What plain tasks do, safe tasks do too: each thing tried with both."""

import functools
from importlib.util import find_spec
from typing import Any

import celery.result
import pytest
from celery import VERSION, chord, group, shared_task
from django.db import transaction

from django_task_safety import InvalidArguments, idempotent_task, safe_task
from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from tests.celery import app
from tests.support.delivering import undone
from tests.testapp.models import Effect
from tests.testapp.tasks import effect

State = Operation.State
#: Since then plain tasks do all of this.
NEWEST = VERSION >= (5, 7)
DECORATORS = {"plain": shared_task, "safe": safe_task}


def filling_in(function):
    """Fill in the first argument, as dependency injection does."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function("ada", *args, **kwargs)

    return wrapper


def filling_in_by_name(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, user="ada", **kwargs)

    return wrapper


def taking(function):
    """Take an argument of its own away."""

    @functools.wraps(function)
    def wrapper(*args, request_id=None, **kwargs):
        return function(*args, **kwargs)

    return wrapper


def strictly(function):
    """Take one argument, whatever the function takes."""

    @functools.wraps(function)
    def wrapper(only):
        return function(only, only)

    return wrapper


TASKS: dict[str, dict[str, Any]] = {}


def define(function=None, **options):
    """Define a task of each kind."""

    def decorate(body):
        TASKS[body.__name__] = {
            kind: decorator(name=f"tests.as_celery.{kind}.{body.__name__}", **options)(body)
            for kind, decorator in DECORATORS.items()
        }
        return body

    return decorate if function is None else decorate(function)


@define
@filling_in
def greet(user, x):
    return f"{user} {x}"


@define(bind=True)
def greet_bound(self, x):
    return f"{self.request.retries} {x}"


@define
@filling_in_by_name
def greet_by_name(x, user):
    return f"{user} {x}"


@define
@taking
def taken(x):
    return x


@define
@strictly
def doubled(a, b):
    return a + b


@define
def three(a, b, c):
    return [a, b, c]


@define
def fails():
    raise KeyError("no")


@define
def child():
    return "child"


@define(bind=True)
def answers_with_a_result(self):
    return TASKS["child"][self.name.split(".")[2]].delay()


@define(bind=True)
def answers_with_a_group(self):
    task = TASKS["child"][self.name.split(".")[2]]
    return group(task.s(), task.s()).delay()


@define(bind=True, max_retries=2)
def again(self, foo, bar=0, *rest, **changes):
    if self.request.retries:
        return [foo, bar, *rest]
    raise self.retry(countdown=0, **changes.pop("change"))


@define(bind=True, max_retries=2)
def later(self, x):
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return x


@define
def total(numbers):
    return sum(numbers)


@define(bind=True)
def priority(self):
    return (self.request.delivery_info or {}).get("priority")


@define(bind=True)
def calls_priority(self, **options):
    TASKS["priority"][self.name.split(".")[2]].apply_async(**options)


@idempotent_task(key="x", name="tests.as_celery.keyed")
@filling_in
def keyed(user, x):
    effect("keyed", x)
    return f"{user} {x}"


@idempotent_task(key="x", name="tests.as_celery.keyed_by_name")
@filling_in_by_name
def keyed_by_name(x, user):
    effect("keyed", x)
    return f"{user} {x}"


@idempotent_task(key="user", name="tests.as_celery.keyed_by_what_is_filled_in")
@filling_in
def keyed_by_what_is_filled_in(user, x):
    return f"{user} {x}"


@pytest.fixture(params=DECORATORS)
def kind(request, worker):
    return request.param


@pytest.fixture
def eager():
    app.conf.task_always_eager = True
    yield
    app.conf.task_always_eager = False


def get(result):
    return result.get(timeout=1, disable_sync_subtasks=False)


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "value"),
    [
        ("greet", (1,), {}, "ada 1"),
        ("greet", (), {"x": 1}, "ada 1"),
        ("greet_bound", (1,), {}, "0 1"),
        ("greet_by_name", (1,), {}, "ada 1"),
        ("greet_by_name", (), {"x": 1}, "ada 1"),
        ("taken", (3,), {"request_id": "r"}, 3),
        ("taken", (), {"x": 3, "request_id": "r"}, 3),
        ("taken", (3,), {}, 3),
        ("doubled", (2,), {}, 4),
    ],
)
def test_a_decorator_may_change_the_arguments(worker, kind, name, args, kwargs, value):
    result = TASKS[name][kind].apply_async(args, kwargs)
    worker.drain()
    assert get(result) == value


def test_a_call_must_fit_the_decorator(worker, kind):
    with pytest.raises(TypeError):
        TASKS["doubled"][kind].delay(1, 2)


@pytest.mark.parametrize("task", [keyed, keyed_by_name])
def test_the_key_is_found_below_a_decorator(worker, task):
    results = [task.delay(2), task.delay(x=2), task.delay(3)]
    worker.drain()
    assert [get(result) for result in results] == ["ada 2", "ada 2", "ada 3"]
    assert sorted(Effect.objects.values_list("key", flat=True)) == ["2", "3"]


def test_a_key_that_a_decorator_fills_in_is_refused(worker):
    with pytest.raises(InvalidArguments, match=r"not sure which is user.*by keyword"):
        keyed_by_what_is_filled_in.delay(x=2)
    assert not Operation.all_rows.exists()


@pytest.mark.parametrize("args", ["abc", {"x": 1, "y": 2, "z": 3}, {1, 2, 3}])
def test_arguments_that_are_no_list_are_refused(worker, kind, args):
    with pytest.raises(TypeError, match="list or tuple"):
        TASKS["three"][kind].apply_async(args)


def test_keyword_arguments_that_are_no_mapping_are_refused(worker, kind):
    with pytest.raises(TypeError, match="mapping"):
        TASKS["three"][kind].apply_async((), [("a", 1), ("b", 2), ("c", 3)])


@pytest.mark.parametrize("name", ["delay_on_commit", "apply_async_on_commit"])
@pytest.mark.parametrize("mode", ["published", "eager"])
def test_a_call_on_commit_is_made_if_the_transaction_commits(worker, kind, name, mode):
    app.conf.task_always_eager = mode == "eager"
    task = TASKS["three"][kind]
    args = (1, 2, 3) if name == "delay_on_commit" else ((1, 2, 3),)
    try:
        with undone():
            assert getattr(task, name)(*args) is None
        assert not worker.take()
        assert not Operation.all_rows.exists()
        with transaction.atomic():
            getattr(task, name)(*args)
            assert not worker.take()
            assert not Operation.objects.filter(state=State.SUCCEEDED).exists()
    finally:
        app.conf.task_always_eager = False
    assert len(worker.drain()) == (mode == "published")
    assert Operation.objects.filter(state=State.SUCCEEDED).count() == (kind == "safe")


@pytest.mark.parametrize("name", ["answers_with_a_result", "answers_with_a_group"])
def test_a_task_may_return_a_result_handle(worker, kind, name):
    result = TASKS[name][kind].delay()
    worker.drain()
    handle = celery.result.result_from_tuple(get(result), app=app)
    assert get(handle) == ("child" if name == "answers_with_a_result" else ["child", "child"])


def test_a_result_handle_that_is_returned_is_repeated_to_a_copy(worker):
    result = TASKS["answers_with_a_result"]["safe"].delay()
    message = worker.take_one()
    values = [worker.deliver(message).value for _ in range(2)]
    row = Operation.objects.get(pk=result.id).result
    assert row == get(result)
    assert [celery.result.result_from_tuple(row, app=app), row] == values


RETRIES = {
    "args after keywords": ((), {"foo": 1, "bar": 2}, {"args": (5, 6)}, [5, 6]),
    "fewer args after keywords": ((), {"foo": 1, "bar": 2}, {"args": (5,)}, [5, 2]),
    "args after both": ((1,), {"bar": 2}, {"args": (5, 6)}, [5, 6]),
    "args after args": ((1, 2), {}, {"args": (5,)}, [5, 0]),
    "keywords after args": ((1, 2), {}, {"kwargs": {"foo": 5}}, [5, 2]),
    "keywords after more args": ((1, 2, 3, 4), {}, {"kwargs": {"bar": 5}}, [1, 5, 3, 4]),
    "keywords after keywords": ((), {"foo": 1, "bar": 2}, {"kwargs": {"foo": 5}}, [5, 0]),
    "both": ((1,), {"bar": 2}, {"args": (5,), "kwargs": {"bar": 6}}, [5, 6]),
}


@pytest.mark.parametrize("name", RETRIES)
@pytest.mark.parametrize("eagerly", [False, True])
def test_a_retry_changes_the_arguments_however_they_were_passed(worker, kind, name, eagerly):
    if kind == "plain" and not NEWEST:
        pytest.skip("plain tasks pass them twice")
    args, kwargs, change, value = RETRIES[name]
    task = TASKS["again"][kind]
    kwargs = {**kwargs, "change": change}
    if eagerly:
        result = task.apply(args, kwargs)
    else:
        result = task.apply_async(args, kwargs)
        worker.drain()
    assert get(result) == value


@pytest.fixture(params=[True, False])
def inherited(request):
    app.conf.task_inherit_parent_priority = request.param
    yield request.param
    app.conf.task_inherit_parent_priority = False


@pytest.mark.parametrize("own", [None, 2])
def test_a_call_inherits_the_priority_of_its_caller_where_celery_is_told_so(worker, kind, inherited, own):
    TASKS["calls_priority"][kind].apply_async(kwargs={"priority": own} if own else {}, priority=6)
    worker.deliver_one()
    expected = own or (6 if inherited else 0)
    assert (worker.take_one().properties["priority"] or 0) == expected


def test_what_is_published_later_has_the_priority_of_its_caller(worker, inherited):
    TASKS["calls_priority"]["safe"].apply_async(kwargs={"countdown": 3600}, priority=6)
    worker.deliver_one()
    assert not worker.take()
    worker.pass_time(3601)
    sweeper.sweep()
    assert (worker.take_one().properties["priority"] or 0) == (6 if inherited else 0)


def test_apply_raises_what_the_task_raised_where_tblib_is_installed(worker, kind, monkeypatch):
    if not find_spec("tblib"):
        monkeypatch.setattr(celery.result, "tblib", object())
    with pytest.raises(KeyError, match="no"):
        TASKS["fails"][kind].apply(throw=True)
    app.conf.task_eager_propagates = app.conf.task_always_eager = True
    try:
        with pytest.raises(KeyError, match="no"):
            TASKS["fails"][kind].delay()
    finally:
        app.conf.task_eager_propagates = app.conf.task_always_eager = False


def test_a_chord_goes_on_when_its_members_succeed_after_a_retry(worker, kind):
    result = chord([TASKS["later"][kind].s(number) for number in (1, 2)])(TASKS["total"][kind].s())
    worker.drain()
    assert get(result) == 3


def test_models_of_pydantic_are_passed_and_returned(worker, kind):
    pydantic = pytest.importorskip("pydantic")
    if not NEWEST:
        pytest.skip("this Celery sends no models")

    class Point(pydantic.BaseModel):
        x: int

    def move(point: Point) -> Point:
        return Point(x=point.x + 1)

    task = DECORATORS[kind](name=f"tests.as_celery.{kind}.move", pydantic=True)(move)
    for call in (lambda: task.delay(Point(x=3)), lambda: task.delay(point=Point(x=3)), lambda: task.delay({"x": 3})):
        result = call()
        worker.drain()
        assert get(result) == {"x": 4}
    assert task.apply((Point(x=3),)).get() == {"x": 4}
