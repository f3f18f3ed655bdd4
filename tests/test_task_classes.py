"""The ways to make a safe task: decorators, base classes, classes, and whole apps."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery, Task, _state, current_app, shared_task

from django_task_safety import KEEP, PROTECT, InvalidOption, SafeTask, current_operation, idempotent_task, safe_task
from django_task_safety.models import Operation
from tests.support.ids import label
from tests.testapp.models import Effect, Note


@pytest.fixture(autouse=True)
def _definitions_are_forgotten(monkeypatch) -> Iterator[None]:
    """A task that cannot be defined must not be defined again by the next Celery app."""
    monkeypatch.setattr(_state, "_on_app_finalizers", set(_state._on_app_finalizers))
    tasks = dict(current_app.tasks)
    yield
    current_app.tasks.clear()
    current_app.tasks.update(tasks)


def define(decorator: Callable[..., Any], body: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Define a task and look at it, as Celery does when its app is ready."""

    def default(note: Note, number: int = 0) -> None: ...

    task = decorator(name=f"tests.options.{uuid.uuid4()}", **options)(body or default)
    assert task.name.startswith("tests.options.")
    return task


def test_the_decorators_may_be_used_without_parentheses():
    @safe_task
    def bare(a: int) -> int:
        """Its docstring."""
        return a + 1

    assert isinstance(bare, SafeTask)
    assert bare.name == "tests.test_task_classes.bare"
    assert bare.__doc__ == "Its docstring."
    assert bare(1) == 2


def test_a_plain_task_class_may_be_the_base(worker):
    class Counting(Task):
        abstract = True
        before: list[str] = []

        def before_start(self, task_id, args, kwargs):
            self.before.append(task_id)

    task = define(safe_task, increment, base=Counting)
    operation = task.enqueue(1)
    worker.drain()
    assert isinstance(task, SafeTask)
    assert isinstance(task, Counting)
    assert Operation.objects.get().result == 2
    assert Counting.before == [str(operation.pk)]


def increment(number: int) -> int:
    return number + 1


def test_a_safe_task_class_may_be_the_base(worker):
    class Gentle(SafeTask):
        abstract = True
        max_retries = 9
        on_delete = KEEP

    task = define(safe_task, increment, base=Gentle)
    assert (task.max_retries, task.on_delete) == (9, KEEP)


def test_a_task_may_be_a_class(worker):
    class Charge(SafeTask):
        name = "tests.options.Charge"
        idempotent = True
        key = "order"
        match = "amount"

        def run(self, order: int, amount: int = 1) -> int:
            Effect.objects.create(name="charge", key=str(order))
            return amount

    task = current_app.register_task(Charge())
    first = task.delay(1, amount=5)
    assert task.delay(1, 5).id == first.id
    worker.drain()
    assert (Operation.objects.get().result, Effect.objects.count()) == (5, 1)


def test_a_class_with_a_bad_option_is_refused():
    class Bad(SafeTask):
        name = "tests.options.Bad"
        on_delete = "explode"

        def run(self) -> None: ...

    with pytest.raises(InvalidOption, match="on_delete"):
        current_app.register_task(Bad())


def test_every_task_of_an_app_may_be_safe():
    app = Celery("other", task_cls="django_task_safety:SafeTask", set_as_current=False, broker="memory://")
    try:

        @app.task
        def added(a: int, b: int = 1) -> int:
            return a + b

        @app.task(bind=True, on_delete=PROTECT, max_retries=7)
        def bound(self) -> str:
            return self.name

        assert isinstance(added, SafeTask)
        assert (bound.on_delete, bound.max_retries) == (PROTECT, 7)
        assert (added(1), bound()) == (2, "tests.test_task_classes.bound")
    finally:
        app.close()


def test_a_task_of_an_app_with_a_bad_option_is_refused():
    app = Celery("other", task_cls="django_task_safety:SafeTask", set_as_current=False, broker="memory://")
    try:
        with pytest.raises(InvalidOption, match="on_delete"):
            app.task(on_delete="explode", name="tests.options.explode", lazy=False)(increment)
    finally:
        app.close()


def test_a_bound_task_gets_itself_first(worker):
    def body(self: Any, number: int) -> list[object]:
        return [self.request.id, number]

    task = define(idempotent_task, body, bind=True, key="number")
    operation = task.enqueue(3)
    worker.drain()
    assert Operation.objects.get().result == [str(operation.pk), 3]


@pytest.mark.parametrize("option", [{"key": "number"}, {"rerun": "always"}, {"on_duplicate": "raise"}], ids=label)
def test_an_option_of_idempotent_tasks_is_not_lost_on_another_one(option):
    (name,) = option
    with pytest.raises(InvalidOption, match=f"{name} is an option of idempotent tasks"):
        define(shared_task, increment, base=SafeTask, **option)
    task = define(shared_task, increment, base=SafeTask, idempotent=True, **option)
    assert getattr(task, name) == option[name]


def test_a_base_class_may_set_options_of_idempotent_tasks():
    class House(SafeTask):
        abstract = True
        rerun = "never"

    assert not define(safe_task, increment, base=House).idempotent
    assert define(idempotent_task, increment, base=House).rerun == "never"


class AroundRun(SafeTask):
    """What many projects have, to run each task in a context of theirs."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(*args, **kwargs)


class AroundCall(SafeTask):
    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*args, **kwargs)


class PlainAroundRun(Task):
    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(*args, **kwargs)


@pytest.mark.parametrize("base", [AroundRun, AroundCall, PlainAroundRun])
@pytest.mark.parametrize("eager", [False, True])
def test_a_base_class_that_overrides_call_does_not_go_around_the_protocol(worker, base, eager, monkeypatch):
    seen = []

    def body(number: int) -> int:
        seen.append(current_operation())
        return number + 1

    task = define(safe_task, body, base=base)
    monkeypatch.setitem(current_app.conf, "task_always_eager", eager)
    operation = task.enqueue(1)
    worker.drain()
    operation.refresh_from_db()
    assert (operation.state, operation.result, operation.attempt) == ("succeeded", 2, 1)
    assert [one.pk for one in seen] == [operation.pk]
    assert (task(1), task.run(1)) == (2, 2)
    assert seen[1:] == [None, None]
    assert Operation.objects.count() == 1
