"""Tasks that say how far they are as Celery's documentation has it, and handles that show what tasks report."""

import pytest

from django_task_safety import current_operation, safe_task, track
from django_task_safety.models import Operation
from django_task_safety.producer.row_backend import handle
from tests.celery import app
from tests.support.operations import only

State = Operation.State
SEEN: list[object] = []


@pytest.fixture(autouse=True)
def _nothing_is_seen():
    SEEN.clear()


def look(request) -> None:
    """Note what the operation says, and what a handle of the task shows."""
    operation = current_operation()
    result = app.AsyncResult(request.id)
    SEEN.append((operation.progress, operation.progress_message, result.state, result.info))


@safe_task(bind=True)
def updates(self, state: str, meta: object) -> None:
    self.update_state(state=state, meta=meta)
    look(self.request)


@safe_task(bind=True)
def reports(self, *said: object) -> None:
    current_operation().report(*said)
    look(self.request)


@safe_task(bind=True)
def tracks(self) -> None:
    for _ in track("ab"):
        look(self.request)


@pytest.mark.parametrize(
    ("meta", "progress", "message"),
    [
        ({"current": 1, "total": 4}, 0.25, ""),
        ({"current": 1, "total": 4, "message": "reading"}, 0.25, "reading"),
        ({"current": 0.5}, 0.5, ""),
    ],
)
def test_the_state_progress_is_a_report_and_goes_to_the_result_backend_as_it_is(worker, meta, progress, message):
    updates.delay("PROGRESS", meta)
    worker.drain()
    assert only().state == State.SUCCEEDED, only().error
    assert [(progress, message, "PROGRESS", meta)] == SEEN


@pytest.mark.parametrize(
    ("state", "meta"),
    [
        ("COPYING", {"current": 1, "total": 4}),
        ("PROGRESS", {"done": 1}),
        ("PROGRESS", {"current": "many", "total": 4}),
        ("PROGRESS", {"current": True}),
        ("PROGRESS", ["a"]),
        ("PROGRESS", None),
    ],
)
def test_any_other_state_is_for_the_result_backend_alone(worker, state, meta):
    updates.delay(state, meta)
    worker.drain()
    assert only().state == State.SUCCEEDED, only().error
    assert [(None, "", state, meta)] == SEEN


@pytest.mark.parametrize(
    ("said", "info"),
    [
        ((1, 4), {"current": 1, "total": 4}),
        ((1, 4, "reading"), {"current": 1, "total": 4, "message": "reading"}),
        ((0.5,), {"current": 0.5, "total": 1}),
        ((17,), {"current": 17, "total": None}),
    ],
)
def test_a_handle_shows_what_a_task_reports(worker, said, info):
    reports.delay(*said)
    worker.drain()
    ((_, _, state, shown),) = SEEN
    assert (state, shown) == ("PROGRESS", info)


def test_a_handle_shows_where_a_tracked_loop_is(worker):
    tracks.delay()
    worker.drain()
    assert [shown for _, _, _, shown in SEEN] == [{"current": 0, "total": 2}] * 2


def test_a_report_without_a_result_to_keep_tells_nobody(worker):
    reports.apply_async((1, 4), ignore_result=True)
    worker.drain()
    assert SEEN == [(0.25, "", "PENDING", None)]


def test_a_result_backend_that_fails_costs_a_line_in_the_log_and_is_left_alone(worker, monkeypatch, caplog):
    asked = []

    def store_result(task_id, result, state, *args, **kwargs):
        asked.append(state)
        raise ConnectionError("no backend")

    @safe_task
    def reports_twice() -> None:
        monkeypatch.setattr(reports_twice.backend, "store_result", store_result)
        current_operation().report(1, 4)
        current_operation().report(2, 4)
        SEEN.append(current_operation().progress)
        monkeypatch.undo()

    reports_twice.delay()
    worker.drain()
    assert (only().state, SEEN, asked) == (State.SUCCEEDED, [0.5], ["PROGRESS"])
    assert "the result backend was not told: ConnectionError: no backend" in caplog.text


@safe_task(bind=True)
def updates_when_cancelled(self) -> None:
    current_operation().cancel("enough")
    self.update_state(state="PROGRESS", meta={"current": 1, "total": 2})
    SEEN.append("not stopped")


def test_a_cancelled_task_stops_where_it_says_how_far_it_is(worker):
    updates_when_cancelled.delay()
    assert worker.deliver_one().state == "IGNORED"
    assert (only().state, SEEN) == (State.CANCELLED, [])


@safe_task(bind=True)
def updates_another(self, task_id: str) -> None:
    self.update_state(task_id=task_id, state="PROGRESS", meta={"current": 1, "total": 2})
    SEEN.append(current_operation().progress)


def test_the_progress_of_another_task_is_no_report_of_this_one(worker):
    updates_another.delay("another")
    worker.drain()
    assert SEEN == [None]
    assert app.AsyncResult("another").info == {"current": 1, "total": 2}


def test_a_handle_that_asks_the_row_shows_its_progress_where_the_result_backend_knows_nothing(worker):
    operation = reports.enqueue(1, 4)
    assert handle(reports, str(operation.pk)).state == "PENDING"
    Operation.objects.update(state=State.RUNNING, progress=0.25, progress_message="reading")
    result = handle(reports, str(operation.pk))
    assert (result.state, result.info) == ("PROGRESS", {"current": 0.25, "total": 1, "message": "reading"})
