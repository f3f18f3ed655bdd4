"""Every transition is announced: one log line and one signal, after its commit."""

import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, transaction

from django_task_safety import ledger, safe_task, signals
from django_task_safety.errors import TimeLimitPassed, WorkerLost
from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from tests.celery import app
from tests.support.delivering import undone
from tests.testapp.tasks import act, charge, double, record

NAMES = list(signals.BY_NAME)


@safe_task(throws=(ValueError,))
def expected() -> None:
    raise ValueError("as it may be")


@safe_task(max_retries=0)
def exits() -> None:
    sys.exit(1)


class Listener(list[str]):
    """The names of the signals that came, in order, and what they carried."""

    def __init__(self) -> None:
        super().__init__()
        self.carried: list[dict[str, Any]] = []
        self.in_transaction: list[bool] = []

    def hear(self, name: str, **carried: Any) -> None:
        self.append(name)
        self.carried.append(carried)
        self.in_transaction.append(connection.in_atomic_block)


@pytest.fixture
def heard() -> Iterator[Listener]:
    listener = Listener()
    receivers = {name: lambda name=name, **carried: listener.hear(name, **carried) for name in NAMES}
    for name, receiver in receivers.items():
        signals.BY_NAME[name].connect(receiver, weak=False)
    yield listener
    for name, receiver in receivers.items():
        signals.BY_NAME[name].disconnect(receiver)


@pytest.mark.parametrize(
    ("action", "names"),
    [
        ("ok", ["enqueued", "started", "succeeded"]),
        ("raise", ["enqueued", "started", "failed"]),
        ("retry", ["enqueued", "started", "retried", "started", "retried", "started", "succeeded"]),
        ("flaky", ["enqueued", "started", "retried", "started", "retried", "started", "succeeded"]),
        ("ignore", ["enqueued", "started", "cancelled"]),
        ("reject", ["enqueued", "started", "failed"]),
    ],
)
@pytest.mark.parametrize("how", ["delay", "apply"])
def test_each_transition_sends_its_signal_once_and_after_its_commit(worker, heard, action, names, how):
    act.apply((action,)) if how == "apply" else act.delay(action)
    worker.drain()
    assert heard == names
    assert heard.in_transaction == [False] * len(names)
    assert {carried["operation"].pk for carried in heard.carried} == {Operation.objects.get().pk}
    assert {carried["sender"] for carried in heard.carried} == {Operation}


def test_a_cancel_sends_its_signal_once(worker, heard):
    operation = record.enqueue("a")
    operation.cancel("why")
    operation.cancel()
    worker.drain()
    assert heard == ["enqueued", "cancelled"]
    assert heard.carried[1]["operation"].error == "why"


def test_a_cancel_of_many_operations_sends_a_signal_for_each(worker, heard):
    charge.enqueue_many([(1,), (2,)])
    Operation.objects.cancel()
    assert heard == ["enqueued", "enqueued", "cancelled", "cancelled"]
    assert len({carried["operation"].pk for carried in heard.carried}) == 2


def test_the_signal_of_a_failure_carries_its_exception_and_that_of_a_retry_its_delay(worker, heard):
    act.delay("flaky", until=100)
    worker.drain()
    by_name = dict(zip(heard, heard.carried, strict=True))
    assert isinstance(by_name["failed"]["exc"], ConnectionError)
    assert 0 < by_name["retried"]["delay"] <= 1


def test_an_operation_of_a_lost_worker_sends_a_signal(worker, heard):
    operation = record.enqueue("a")
    ledger.claim(operation.pk, "dies", 30, None)
    worker.pass_time(31)
    sweeper.sweep()
    assert heard == ["enqueued", "started", "requeued"]


def test_no_signal_is_sent_of_what_is_rolled_back(worker, heard):
    with undone():
        record.delay("a")
    operation = record.enqueue("b")
    with undone():
        operation.cancel()
    assert heard == ["enqueued"]


def test_no_signal_is_sent_before_the_commit(worker, heard):
    with transaction.atomic():
        record.delay("a")
        assert heard == []
    assert heard == ["enqueued"]


def test_a_duplicate_sends_no_signal(worker, heard):
    double.delay(1)
    double.delay(1)
    message = worker.take_one()
    worker.deliver(message)
    worker.deliver(message)
    app.send_task(double.name, (1,))
    worker.drain()
    assert heard == ["enqueued", "started", "succeeded"]


def test_a_message_without_a_row_sends_a_signal_when_it_starts(worker, heard):
    app.send_task(record.name, ("a",))
    worker.drain()
    assert heard == ["started", "succeeded"]


def test_a_signal_receiver_that_raises_does_no_harm(worker, heard, caplog):
    def explode(**kwargs: Any) -> None:
        raise ValueError("the receiver's own")

    for signal in signals.BY_NAME.values():
        signal.connect(explode)
    try:
        result = record.delay("a")
        worker.drain()
    finally:
        for signal in signals.BY_NAME.values():
            signal.disconnect(explode)
    assert heard == ["enqueued", "started", "succeeded"]
    assert result.get(timeout=1) == "a"
    assert "the receiver's own" in caplog.text


def test_each_transition_is_one_log_line_with_task_key_id_and_attempt(worker, caplog):
    caplog.set_level(logging.INFO, "django_task_safety")
    operation = charge.enqueue(7)
    worker.drain()
    lines = [line for line in caplog.messages if line.startswith("operation ")]
    assert [line.split(":")[0] for line in lines] == ["operation enqueued", "operation started", "operation succeeded"]
    for line, attempt in zip(lines, (0, 1, 1), strict=True):
        for part in (f"task={charge.name}", "key=7", f"id={operation.pk}", f"attempt={attempt}"):
            assert part in line


def failures(caplog) -> list[logging.LogRecord]:
    """Return what was logged as an error, by whomever: people are called for each."""
    return [entry for entry in caplog.records if entry.levelno >= logging.ERROR]


def test_a_retry_is_logged_as_a_warning_with_the_reason(worker, caplog):
    act.delay("flaky")
    worker.drain()
    records = [entry for entry in caplog.records if entry.name == "django_task_safety"]
    assert [entry.levelno for entry in records] == [logging.WARNING] * 2
    assert all("ConnectionError: not yet" in entry.getMessage() for entry in records)
    assert not failures(caplog)


@pytest.mark.parametrize(("action", "reason"), [("raise", "ValueError"), ("flaky", "ConnectionError")])
def test_what_a_task_fails_with_is_logged_once_with_its_traceback(worker, caplog, action, reason):
    act.delay(action, **({"until": 100} if action == "flaky" else {}))
    worker.drain()
    (entry,) = failures(caplog)
    assert entry.exc_info[0].__name__ == reason
    assert entry.exc_info[2] is not None


def test_the_line_of_a_failure_says_why(worker, caplog):
    caplog.set_level(logging.INFO, "django_task_safety")
    act.delay("raise")
    worker.drain()
    assert [line for line in caplog.messages if line.startswith("operation failed") and "ValueError: no" in line]


def test_what_a_task_declares_in_throws_is_no_error(worker, caplog):
    caplog.set_level(logging.INFO)
    expected.delay()
    worker.drain()
    assert max(entry.levelno for entry in caplog.records if "ValueError" in entry.getMessage()) == logging.INFO
    assert not failures(caplog)


@pytest.mark.parametrize("limit", [None, 0.5])
def test_the_failure_of_a_lost_worker_is_logged_once_with_its_exception(worker, caplog, limit):
    operation = act.enqueue("ok")
    Operation.objects.update(max_attempts=1)
    ledger.claim(operation.pk, "dies", 30, limit)
    worker.pass_time(31)
    sweeper.sweep()
    (entry,) = failures(caplog)
    assert entry.exc_info[0] is (WorkerLost if limit is None else TimeLimitPassed)
    assert entry.name == "django_task_safety"


def test_the_failure_of_what_exits_is_logged_once_with_its_traceback(worker, caplog):
    exits.delay()
    worker.deliver_one()
    (entry,) = failures(caplog)
    assert entry.exc_info[0] is SystemExit
    assert entry.exc_info[2] is not None


def test_without_receivers_no_signal_is_prepared(worker, caplog):
    caplog.set_level(logging.ERROR, "django_task_safety")
    with transaction.atomic():
        record.delay("a")
        assert len(connection.run_on_commit) == 1


def test_a_log_line_stays_one_line(worker, caplog):
    caplog.set_level(logging.INFO, "django_task_safety")
    charge.apply_async(("two\nlines",))
    lines = [line for line in caplog.messages if line.startswith("operation ")]
    assert len(lines) == 1
    assert "\n" not in lines[0]
