"""Django's own Tasks run as safe tasks: the API is theirs, the guarantees are ours."""

import asyncio
from datetime import timedelta

import pytest

api = pytest.importorskip("django_task_safety.backends.api", reason="there are no Tasks", exc_type=ImportError)

from asgiref.sync import async_to_sync  # noqa: E402
from django.db import transaction  # noqa: E402
from django.utils import timezone  # noqa: E402

from django_task_safety import InvalidArguments  # noqa: E402
from django_task_safety.backends import hear_ends, safe_tasks  # noqa: E402
from django_task_safety.backends.api import (  # noqa: E402
    InvalidTask,
    TaskResultDoesNotExist,
    TaskResultStatus,
    exceptions,
    signals,
)
from django_task_safety.errors import OperationCancelled  # noqa: E402
from django_task_safety.models import Operation  # noqa: E402
from tests.celery import app  # noqa: E402
from tests.support.delivering import statements, undone  # noqa: E402
from tests.support.factories import NoteFactory  # noqa: E402
from tests.testapp.models import Effect  # noqa: E402
from tests.testapp.tasks import record  # noqa: E402

BACKEND = "django_task_safety.backends.SafeTaskBackend"


@pytest.fixture
def ours():
    from tests.testapp import django_tasks

    hear_ends()
    return django_tasks


@pytest.fixture(params=["db", "transactional_db"])
def safety(request):
    request.getfixturevalue(request.param)
    return request.getfixturevalue("task_safety")


def test_it_runs_once_and_has_a_result(ours, safety):
    result = ours.add.enqueue(1, b=2)
    assert (result.status, result.args, result.kwargs) == (TaskResultStatus.READY, [1], {"b": 2})
    assert result.enqueued_at is not None
    safety.deliver_twice()
    result.refresh()
    assert (result.status, result.return_value, result.attempts) == (TaskResultStatus.SUCCESSFUL, 3, 1)
    assert result.started_at <= result.finished_at
    assert result.errors == []
    assert Effect.objects.count() == 1


def test_its_id_is_the_operations_and_known_before_the_commit(ours, transactional_db, task_safety):
    with transaction.atomic():
        result = ours.add.enqueue(1)
        assert Operation.objects.get(pk=result.id).task == "tests.testapp.django_tasks.add"
    assert ours.add.get_result(result.id) == result.task.get_result(result.id)


def test_what_is_rolled_back_never_runs(ours, transactional_db, task_safety):
    with undone():
        result = ours.add.enqueue(1)
    assert task_safety.drain() == []
    with pytest.raises(TaskResultDoesNotExist):
        ours.add.get_result(result.id)


def test_a_coroutine_runs(ours, safety):
    result = ours.add_async.enqueue(1, 2)
    safety.run()
    result.refresh()
    assert result.return_value == 3


def test_it_can_be_enqueued_and_looked_at_from_a_coroutine(ours, transactional_db, task_safety):
    async def enqueue():
        result = await ours.add.aenqueue(2)
        await result.arefresh()
        return await ours.add.aget_result(result.id)

    result = async_to_sync(enqueue)()
    assert result.status == TaskResultStatus.READY
    assert not asyncio.iscoroutine(result)


def test_the_context_is_passed_to_who_takes_it(ours, safety):
    result = ours.tell.enqueue("hello")
    safety.run()
    result.refresh()
    assert result.return_value == ["hello", 1, result.id]


@pytest.mark.parametrize("use_tz", [True, False])
def test_what_the_call_returns_is_what_the_row_says(ours, safety, settings, use_tz):
    settings.USE_TZ = use_tz
    result = ours.add.enqueue(1, b=2)
    assert ours.add.get_result(result.id) == result
    assert abs(timezone.now() - result.enqueued_at) < timedelta(minutes=1)
    safety.run()
    result.refresh()
    assert result.started_at <= result.finished_at


def test_a_result_tells_of_its_own_call_and_of_no_other(ours, safety, monkeypatch):
    monkeypatch.setattr(safe_tasks, "_declared", {})
    later = ours.charge.using(run_after=timezone.now() + timedelta(hours=1))
    result = later.enqueue(9)
    assert result.task == later
    assert ours.charge.enqueue(10).task == ours.charge
    assert ours.charge.get_result(result.id).task == ours.charge


def test_an_option_of_the_decorator_above_holds(ours, safety):
    first, second = ours.charge.enqueue(7), ours.charge.enqueue(7)
    assert first.id == second.id
    safety.drain()
    third = ours.charge.enqueue(7)
    assert (third.id, third.status, third.return_value) == (first.id, TaskResultStatus.SUCCESSFUL, 7)
    assert Effect.objects.count() == 1


def test_an_option_in_the_settings_holds(ours, safety):
    assert ours.configured.enqueue(7).id == ours.configured.enqueue(7).id
    safety.drain()
    assert Effect.objects.count() == 1


def test_earlier_errors_are_kept(ours, safety):
    result = ours.charge.enqueue(8, fail=1)
    safety.run()
    result.refresh()
    assert result.status == TaskResultStatus.READY
    assert [error.exception_class for error in result.errors] == [ConnectionError]
    safety.drain()
    result.refresh()
    assert (result.status, result.attempts, len(result.errors)) == (TaskResultStatus.SUCCESSFUL, 2, 1)


def test_a_failure_has_its_class_and_its_traceback(ours, safety):
    result = ours.fail.enqueue("too large")
    safety.drain()
    result.refresh()
    (error,) = result.errors
    assert (result.status, error.exception_class) == (TaskResultStatus.FAILED, OverflowError)
    assert "too large" in error.traceback
    assert "Traceback" in error.traceback
    with pytest.raises(ValueError, match="Task failed"):
        _ = result.return_value


def test_a_cancelled_one_has_failed_and_says_why(ours, safety):
    result = ours.add.enqueue(1)
    Operation.objects.get(pk=result.id).cancel("not wanted")
    result.refresh()
    (error,) = result.errors
    assert (result.status, error.exception_class) == (TaskResultStatus.FAILED, OperationCancelled)
    assert "not wanted" in error.traceback


def test_run_after_priority_and_queue_reach_the_message(ours, safety):
    later = ours.charge.using(run_after=timezone.now() + timedelta(hours=1))
    operation = Operation.objects.get(pk=later.enqueue(9).id)
    assert operation.queue == "mail"
    assert '"priority": 7' in operation.options
    assert safety.run() == []
    safety.travel(3700)
    assert len(safety.run()) == 1


def test_the_default_queue_is_celerys(ours, db, task_safety):
    assert Operation.objects.get(pk=ours.add.enqueue(1).id).queue == "celery"


def test_an_object_is_passed_by_reference(ours, safety):
    note = NoteFactory(title="before")
    result = ours.copy.enqueue(note)
    type(note).objects.update(title="after")
    safety.run()
    result.refresh()
    assert (result.return_value, result.args) == ("after", [str(note.pk)])


def test_a_result_belongs_to_its_own_task(ours, db, task_safety):
    with pytest.raises(exceptions.TaskResultMismatch):
        ours.charge.get_result(ours.add.enqueue(1).id)


@pytest.mark.parametrize("result_id", ["", "123", "00000000-0000-0000-0000-000000000000", None])
def test_an_id_of_nothing_has_no_result(ours, db, result_id):
    with pytest.raises(TaskResultDoesNotExist):
        ours.add.get_result(result_id)


def test_an_operation_that_is_none_of_djangos_tasks_has_no_result(ours, db, task_safety):
    with pytest.raises(TaskResultDoesNotExist):
        ours.add.get_result(str(record.enqueue("a").pk))


def test_arguments_that_do_not_fit_are_refused_at_once(ours, db):
    with pytest.raises(InvalidArguments):
        ours.add.enqueue(1, 2, 3)
    with pytest.raises(InvalidArguments):
        ours.tell.enqueue("context", "too many")
    assert not Operation.objects.exists()


def test_a_queue_that_is_none_is_refused(ours, db):
    with pytest.raises(InvalidTask):
        ours.add.using(queue_name="nowhere")


@pytest.fixture
def eager():
    app.conf.task_always_eager = True
    yield
    app.conf.task_always_eager = False


@pytest.fixture
def heard():
    """The signals of Django's Tasks, as they come."""
    found = []
    names = {"enqueued": signals.task_enqueued, "started": signals.task_started, "finished": signals.task_finished}
    receivers = {
        name: (lambda sender, task_result, name=name, **kwargs: found.append((name, task_result.status, task_result)))
        for name in names
    }
    for name, signal in names.items():
        signal.connect(receivers[name])
    yield found
    for name, signal in names.items():
        signal.disconnect(receivers[name])


def test_djangos_signals_are_sent_in_order(ours, transactional_db, task_safety, heard):
    ours.add.enqueue(1)
    ours.fail.enqueue("no")
    task_safety.drain()
    ready, running, done, failed = "READY", "RUNNING", "SUCCESSFUL", "FAILED"
    assert [(name, status) for name, status, _ in heard] == [
        ("enqueued", ready),
        ("enqueued", ready),
        ("started", running),
        ("finished", done),
        ("started", running),
        ("finished", failed),
    ]


def test_who_hears_of_the_end_reads_the_value(ours, transactional_db, task_safety, heard):
    ours.add.enqueue(1, 2)
    task_safety.run()
    assert heard[-1][2].return_value == 3


def test_signals_are_sent_in_order_where_the_call_runs_the_task(ours, transactional_db, eager, heard):
    result = ours.add.enqueue(1, 2)
    assert result.return_value == 3
    assert [name for name, _, _ in heard] == ["enqueued", "started", "finished"]
    assert {told.id for _, _, told in heard} == {result.id}


def test_a_run_costs_the_statements_of_a_safe_task(ours, transactional_db, task_safety):
    counts = []
    for enqueue in (lambda: ours.add.enqueue(1), lambda: record.enqueue("a")):
        with statements() as found:
            enqueue()
            task_safety.run()
        counts.append(len(found))
    assert counts[0] == counts[1]


def test_a_wrong_option_in_the_settings_is_an_error_of_the_checks_and_holds_up_no_other_task(
    settings, db, monkeypatch, caplog
):
    monkeypatch.setattr(safe_tasks, "_declared", {})
    name = "tests.testapp.django_tasks.wrong"
    settings.TASKS = {"default": {"BACKEND": BACKEND, "OPTIONS": {"tasks": {name: {"on_delete": "explode"}}}}}

    def wrong() -> None: ...

    wrong.__module__, wrong.__qualname__ = "tests.testapp.django_tasks", "wrong"
    (found,) = api.base.task(wrong).get_backend().check()
    assert found.id == "task_safety.E020"
    assert "on_delete" in found.msg
    safe_tasks.make_all()
    assert f"the task {name} cannot run" in caplog.text
