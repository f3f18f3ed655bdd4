"""What went wrong with an operation, and who did something about it."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from django_task_safety import idempotent_task, ledger, safe_task
from django_task_safety.ledger import history, worker_id
from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from tests.support.delivering import statements
from tests.support.operations import only

State = Operation.State
runs: list[int] = []


@pytest.fixture(autouse=True)
def fresh():
    runs.clear()


@safe_task(max_retries=3, retry_on=ConnectionError)
def flaky(failures: int) -> str:
    runs.append(1)
    if len(runs) <= failures:
        raise ConnectionError(f"failure {len(runs)}")
    return "done"


@safe_task(max_retries=0)
def fails() -> None:
    raise ValueError("no <b>")


@safe_task(max_retries=2)
def broken() -> None:
    raise ValueError("not worth a retry")


@idempotent_task(key="key")
def once(key: str) -> str:
    runs.append(1)
    return key


def outcomes(operation: Operation) -> list[tuple[int, str, str]]:
    return [(one.number, one.outcome, one.error) for one in operation.attempts]


def test_a_good_first_attempt_writes_nothing(worker):
    flaky.delay(0)
    worker.drain()
    assert only().history == ""
    assert only().attempts == only().events == []


def test_every_ended_attempt_of_a_flaky_task_is_there(worker):
    flaky.delay(2)
    worker.finish()
    assert outcomes(only()) == [
        (1, "retried", "ConnectionError: failure 1"),
        (2, "retried", "ConnectionError: failure 2"),
        (3, "succeeded", ""),
    ]
    first, *_, last = only().attempts
    assert first.worker == worker_id.me()
    assert timedelta() <= first.ended_at - first.started_at < timedelta(minutes=1)
    assert first.ended_at <= last.ended_at + timedelta(hours=1)


def test_the_last_failure_is_an_attempt_too(worker):
    fails.delay()
    worker.drain()
    assert outcomes(only()) == [(1, "failed", "ValueError: no <b>")]


def test_attempts_whose_worker_was_lost_are_told_by_the_sweep(worker):
    rows = [flaky.enqueue(0), fails.enqueue()]
    worker.take()
    for row in rows:
        assert ledger.claim(row.pk, f"worker of {row.task}", 1.0, None).claimed
    worker.pass_time(60)
    sweeper.sweep()
    again, spent = (Operation.objects.get(pk=row.pk) for row in rows)
    assert outcomes(again) == [(1, "requeued", "Its worker was lost (lease expired).")]
    assert [(one.number, one.worker, one.outcome) for one in spent.attempts] == [
        (1, f"worker of {fails.name}", "failed")
    ]
    assert "WorkerLost" in spent.attempts[0].error


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("crashes", [False, True], ids=["", "and the one that took over dies before it notes that"])
def test_an_attempt_that_another_one_took_over_before_a_sweep_is_there_too(worker, ended, crashes):
    operation = flaky.enqueue(0)
    message = worker.take_one()
    for number in (1, 2):
        ledger.claim(operation.pk, f"lost {number}", 30, None)
        worker.pass_time(31)
    if ended:
        worker.deliver(message)
    else:
        ledger.claim(operation.pk, "lives", 30, None)
    told = [(one.worker, one.started_at is not None) for one in only().attempts[:2]]
    assert told == [("lost 1", True), ("lost 2", True)]
    _, second = only().attempts[:2]
    assert second.ended_at <= only().started_at
    if crashes:
        Operation.objects.update(history="")
    lost = "Its worker was lost (lease expired)."
    expected = [(1, "requeued", lost), (2, "requeued", lost)]
    assert outcomes(only()) == expected + [(3, "succeeded", "")] * ended


def test_after_a_retry_by_hand_attempts_are_counted_from_the_first_again(worker):
    operation = broken.enqueue()
    worker.drain()
    for _ in range(2):
        only().retry()
        ledger.claim(operation.pk, "lost", 30, None)
        worker.pass_time(31)
        worker.drain()
    numbers = [(one.number, one.outcome) for one in only().attempts]
    assert numbers == [(1, "failed"), (1, "requeued"), (2, "failed"), (1, "requeued"), (2, "failed")]


def test_what_somebody_did_says_who_and_why(worker):
    ada = User(pk=7)
    operation = once.enqueue("a")
    operation.cancel("wrong note", by=ada)
    assert operation.retry(by="8")
    worker.drain()
    operation.refresh_from_db()
    assert operation.rerun(by=ada)
    worker.drain()
    events = only().events
    assert [(one.what, one.by, one.why) for one in events] == [
        ("cancel", "7", "wrong note"),
        ("retry", "8", ""),
        ("rerun", "7", ""),
    ]
    assert sorted(events, key=lambda one: one.at) == events
    assert len(runs) == 2


def test_many_are_cancelled_in_somebodys_name(worker):
    for name in "abc":
        once.enqueue(name)
    assert Operation.objects.all().cancel("all of them", by=9) == 3
    assert {(one.what, one.by, one.why) for row in Operation.objects.all() for one in row.events} == {
        ("cancel", "9", "all of them")
    }


def test_only_what_succeeded_is_run_again_as_new_work(worker):
    operation = once.enqueue("a")
    assert not operation.rerun()
    worker.drain()
    first = only()
    assert not first.retry()
    assert first.rerun()
    assert (first.state, first.generation) == (State.QUEUED, 1)
    assert first.idempotency_key == f"{first.pk}-1"
    assert not first.rerun()
    worker.drain()
    assert (only().state, len(runs)) == (State.SUCCEEDED, 2)
    fails.delay()
    worker.drain()
    assert not Operation.objects.get(task=fails.name).rerun()


def test_the_history_is_bounded_and_its_newest_part_is_kept(worker):
    operation = once.enqueue("a")
    for number in range(300):
        ledger.cancel(Operation.all_rows.filter(pk=operation.pk), f"reason {number} " + "ü" * 400)
        Operation.all_rows.filter(pk=operation.pk).update(state=State.QUEUED)
    row = only()
    assert len(row.history) <= 120_000
    assert [one.why.split()[1] for one in row.events] == [str(number) for number in range(280, 300)]


def test_a_retry_and_a_failure_take_no_further_statement_for_their_history(worker, monkeypatch):
    counts = []
    for line in (history.with_line, lambda line: history.F("history")):
        monkeypatch.setattr(history, "with_line", line)
        runs.clear()
        flaky.delay(1)
        message = worker.take_one()
        with statements() as found:
            worker.deliver(message)
        counts.append(len(found))
        worker.take()
    assert counts[0] == counts[1]
