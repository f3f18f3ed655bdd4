"""Progress, seen from outside while the task runs."""

import threading
import time
from collections.abc import Callable

import pytest
from django.db import connection, transaction

from django_task_safety import OperationCancelled, OperationSuperseded, current_operation, ledger, safe_task, track
from django_task_safety.models import Operation
from tests.support.delivering import about_operations, elsewhere, statements
from tests.support.ids import label
from tests.testapp.models import Effect

State = Operation.State
DO: list[Callable[[], object]] = []


@safe_task(max_retries=0)
def does() -> object:
    Effect.objects.create(name="does")
    return DO[0]()


@safe_task(atomic=False, max_retries=0)
def does_outside() -> object:
    return DO[0]()


@safe_task(max_retries=3)
def never_delivered() -> None: ...


@pytest.fixture(params=[does, does_outside], ids=["atomic", "not atomic"])
def run(request, worker, monkeypatch) -> Callable[[Callable[[], object]], Operation]:
    def run(body: Callable[[], object]) -> Operation:
        monkeypatch.setattr("tests.worker.test_progress.DO", [body])
        request.param.delay()
        worker.deliver_one()
        return Operation.objects.get()

    return run


def seen() -> tuple[float | None, str]:
    """Progress as another process sees it now; as this one does, where nobody else can."""

    def look() -> tuple[float | None, str]:
        operation = Operation.objects.get()
        return operation.progress, operation.progress_message

    return look() if connection.vendor == "sqlite" else elsewhere(look)


@pytest.mark.parametrize(
    ("report", "progress"),
    [
        ((1, 4), (0.25, "")),
        ((4, 4, "all done"), (1.0, "all done")),
        ((9, 4), (1.0, "")),
        ((-1, 4), (0.0, "")),
        ((0, 0), (1.0, "")),
        ((0.5,), (0.5, "")),
        ((17,), (None, "17")),
        ((1, 2, "x" * 300), (0.5, "x" * 254 + "…")),
        ((1, 2, "a\x00b 🎉"), (0.5, "a\\x00b 🎉")),
    ],
    ids=label,
)
def test_progress_is_a_fraction_and_a_message(run, report, progress):
    def body() -> list[object]:
        operation = current_operation()
        operation.report(*report)
        assert (operation.progress, operation.progress_message) == progress
        return list(seen())

    operation = run(body)
    assert operation.state == State.SUCCEEDED, operation.error
    assert operation.result == list(progress)


def test_a_report_of_progress_is_one_statement(run):
    def body() -> int:
        current_operation().report(0, 2)
        with statements() as found:
            current_operation().report(1, 2)
        return len(about_operations(found))

    assert run(body).result <= 1


@pytest.mark.skipif("config.getoption('db') == 'sqlite'", reason="one connection writes at a time")
def test_who_holds_the_row_keeps_no_body_waiting_and_hides_its_progress(run, in_thread):
    held, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            assert len(Operation.objects.select_for_update()) == 1
            held.set()
            assert go_on.wait(30)

    def body() -> list[object]:
        holding = in_thread(hold)
        assert held.wait(30)
        current_operation().report(1, 2, "hidden")
        hidden = seen()[1]
        assert not holding.done()
        go_on.set()
        assert holding.result() is None
        current_operation().report(2, 2, "shown")
        return [hidden, seen()[1]]

    operation = run(body)
    assert (operation.state, operation.result) == (State.SUCCEEDED, ["", "shown"])


@pytest.mark.skipif("config.getoption('db') == 'sqlite'", reason="there the body reports in its own transaction")
def test_a_body_that_holds_its_own_row_goes_on(worker, monkeypatch):
    def body() -> None:
        assert len(Operation.objects.select_for_update()) == 1
        current_operation().report(1, 2, "hidden")
        current_operation().check_cancelled()

    monkeypatch.setattr("tests.worker.test_progress.DO", [body])
    does.delay()
    worker.deliver_one()
    operation = Operation.objects.get()
    assert (operation.state, operation.error) == (State.SUCCEEDED, "")


@pytest.mark.skipif("config.getoption('db') == 'sqlite'", reason="one connection writes at a time")
def test_a_body_is_stopped_by_a_cancel_that_holds_the_row_until_it_is_committed(worker, in_thread, monkeypatch):
    held, go_on, stopped = threading.Event(), threading.Event(), []

    def cancel() -> None:
        with transaction.atomic():
            Operation.objects.get().cancel("enough")
            held.set()
            assert go_on.wait(30)

    def body() -> None:
        cancelling = in_thread(cancel)
        assert held.wait(30)
        current_operation().report(1, 2)
        go_on.set()
        assert cancelling.result() is None
        try:
            current_operation().report(2, 2)
        except OperationCancelled as exc:
            stopped.append(exc.message)
            raise

    monkeypatch.setattr("tests.worker.test_progress.DO", [body])
    does.delay()
    worker.deliver_one()
    assert stopped == ["enough"]
    assert (Operation.objects.get().state, Effect.objects.count()) == (State.CANCELLED, 0)


@pytest.fixture
def first_only(monkeypatch):
    """However long a body takes, `track` reports once: the interval has passed since the machine started."""
    monkeypatch.setattr("django_task_safety.worker.progress.INTERVAL", time.monotonic())


@pytest.mark.usefixtures("first_only")
def test_track_yields_the_items_and_reports_the_first(run):
    def body() -> list[object]:
        found: list[object] = []
        for item in track(["a", "b", "c"]):
            found.append([item, *seen()])
        return found

    operation = run(body)
    assert operation.result == [[item, 0.0, ""] for item in "abc"]
    assert operation.progress == 1.0


def test_track_reports_once_per_interval(run, monkeypatch):
    monkeypatch.setattr("django_task_safety.worker.progress.INTERVAL", 0.0)
    operation = run(lambda: [seen()[0] for _ in track(range(4))])
    assert operation.result == [0.0, 0.25, 0.5, 0.75]


@pytest.mark.usefixtures("first_only")
def test_track_costs_nothing_between_the_reports(run):
    def body() -> int:
        with statements() as found:
            assert sum(1 for _ in track(range(1000))) == 1000
        return len(about_operations(found))

    assert run(body).result <= 1


def test_track_takes_an_iterator_whose_total_is_told(run, monkeypatch):
    monkeypatch.setattr("django_task_safety.worker.progress.INTERVAL", 0.0)
    assert run(lambda: [seen()[0] for _ in track(iter("abcd"), total=4)]).result == [0.0, 0.25, 0.5, 0.75]


def test_track_of_unknown_length_counts_and_claims_no_fraction(run, monkeypatch):
    monkeypatch.setattr("django_task_safety.worker.progress.INTERVAL", 0.0)
    operation = run(lambda: [seen() for _ in track(iter("abc"))])
    assert operation.result == [[None, "0"], [None, "1"], [None, "2"]]


def test_track_stops_when_the_operation_was_cancelled(worker, monkeypatch):
    monkeypatch.setattr("django_task_safety.worker.progress.INTERVAL", 0.0)
    reached: list[int] = []

    def body() -> None:
        for number in track(range(10)):
            reached.append(number)
            if number == 2:
                Operation.objects.get().cancel("enough")

    monkeypatch.setattr("tests.worker.test_progress.DO", [body])
    does_outside.delay()
    worker.deliver_one()
    assert reached == [0, 1, 2]
    assert (Operation.objects.get().state, Operation.objects.get().error) == (State.CANCELLED, "enough")


@pytest.mark.parametrize(
    "ask", [lambda row: row.check_cancelled(), lambda row: row.report(1, 2)], ids=["check", "report"]
)
def test_a_superseded_attempt_gets_operation_superseded_at_its_next_report(worker, ask):
    operation = never_delivered.enqueue()
    first = ledger.claim(operation.pk, "first", 30, None).operation
    ask(first)
    worker.pass_time(31)
    second = ledger.claim(operation.pk, "second", 30, None).operation
    with pytest.raises(OperationSuperseded, match=str(operation.pk)):
        ask(first)
    ask(second)
    second.cancel("now")
    with pytest.raises(OperationCancelled, match="now") as caught:
        ask(second)
    assert not isinstance(caught.value, OperationSuperseded)
    assert caught.value.operation.pk == operation.pk


def test_track_outside_an_operation_just_yields_the_items():
    assert list(track(iter([1, 2, 3]))) == [1, 2, 3]
    assert list(track([], total=5)) == []


def test_a_new_attempt_starts_without_progress(worker):
    operation = never_delivered.enqueue()
    first = ledger.claim(operation.pk, "first", 30, None).operation
    first.report(1, 2, "half")
    worker.pass_time(31)
    ledger.claim(operation.pk, "second", 30, None)
    operation.refresh_from_db()
    assert (operation.progress, operation.progress_message) == (None, "")


def test_a_failed_operation_keeps_how_far_it_came(run):
    def body() -> None:
        current_operation().report(1, 4, "first quarter")
        raise ValueError("no")

    operation = run(body)
    assert operation.state == State.FAILED
    if connection.vendor != "sqlite":
        assert (operation.progress, operation.progress_message) == (0.25, "first quarter")
