"""What a worker does with copies of a message, with messages that have no row, and with rows that are gone."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from celery import chain, chord, group
from django.db import OperationalError, connection
from kombu.messaging import Producer

from django_task_safety import idempotent_task, ledger, safe_task
from django_task_safety.models import Operation
from tests.celery import app
from tests.support.delivering import about_operations, statements
from tests.support.workers import ROOT
from tests.testapp.models import Effect
from tests.testapp.tasks import double, effect, record, total

State = Operation.State
#: A duplicate delivery is one statement where a statement can update or else read.
CHEAPEST = {"postgresql": 1}
#: What happens while `busy` runs.
MEANWHILE: list[Callable[[], object]] = []


@safe_task(atomic=False)
def busy(name: str) -> str:
    for happens in MEANWHILE:
        happens()
    effect("busy", name)
    return name


@idempotent_task(key="key", atomic=False)
def busy_once(key: str) -> str:
    for happens in MEANWHILE:
        happens()
    effect("busy", key)
    return key


@idempotent_task(key="key", max_retries=0)
def fails_once(key: str) -> None:
    raise ValueError(f"no {key}")


@pytest.fixture
def meanwhile(monkeypatch) -> Callable[[Callable[[], object]], None]:
    return lambda happens: monkeypatch.setattr("tests.worker.test_delivery.MEANWHILE", [happens])


def ran(name: str) -> int:
    return Effect.objects.filter(name=name).count()


def test_a_copy_of_a_finished_message_gets_the_stored_outcome_without_running(worker):
    double.delay(4)
    message = worker.take_one()
    first = worker.deliver(message)
    with statements() as found:
        second = worker.deliver(message)
    assert (first.state, first.value) == (second.state, second.value) == ("SUCCESS", 8)
    assert second.acknowledged
    assert ran("double") == 1
    assert len(found) <= CHEAPEST.get(connection.vendor, 2), found


@pytest.mark.parametrize("task", [busy, busy_once])
def test_a_copy_of_a_running_message_is_dropped(worker, meanwhile, task):
    copies = []

    def copy() -> None:
        with statements() as found:
            copies.append(worker.deliver(message))
        assert len(about_operations(found)) <= CHEAPEST.get(connection.vendor, 2), found

    meanwhile(copy)
    task.delay("a")
    message = worker.take_one()
    assert worker.deliver(message).value == "a"
    assert [(delivery.state, delivery.acknowledged) for delivery in copies] == [("IGNORED", True)]
    assert ran("busy") == 1
    assert worker.take() == []


def test_a_copy_of_a_failed_message_does_not_rerun_it(worker):
    fails_once.delay("a")
    message = worker.take_one()
    worker.deliver(message)
    worker.deliver(message)
    operation = Operation.objects.get()
    assert (operation.state, operation.attempt) == (State.FAILED, 1)


def test_a_copy_of_a_cancelled_message_does_not_run_it(worker):
    operation = double.enqueue(4)
    operation.cancel()
    delivery = worker.deliver_one()
    assert (delivery.state, delivery.acknowledged) == ("IGNORED", True)
    assert ran("double") == 0


def test_a_message_with_the_same_key_gets_the_stored_outcome_under_its_own_id(worker):
    double.delay(4)
    worker.drain()
    copy = app.send_task(double.name, (4,))
    worker.drain()
    assert ran("double") == 1
    assert copy.get(timeout=1) == 8


def test_a_message_under_another_id_waits_outside_the_worker_for_the_running_one(worker, meanwhile):
    copies = []
    meanwhile(lambda: copies.append(worker.deliver(message)))
    busy_once.delay("a")
    original = worker.take_one()
    copy = app.send_task(busy_once.name, ("a",))
    message = worker.take_one()
    assert worker.deliver(original).value == "a"
    assert [delivery.state for delivery in copies] == ["IGNORED"]
    worker.drain()
    assert ran("busy") == 1
    assert copy.get(timeout=1) == "a"


def test_a_message_with_the_same_key_gets_the_stored_failure(worker):
    copies = [app.send_task(fails_once.name, ("a",)) for _ in range(2)]
    worker.drain()
    for copy in copies:
        with pytest.raises(ValueError, match="no a"):
            copy.get(timeout=1)
    assert Operation.objects.get().attempt == 1


def test_a_new_message_with_the_key_of_a_failed_operation_reruns_it(worker):
    for _ in range(2):
        app.send_task(fails_once.name, ("a",))
        worker.drain()
    operation = Operation.objects.get()
    assert (operation.state, operation.generation, operation.revision) == (State.FAILED, 0, 1)


def test_a_chain_with_duplicates_gets_the_stored_outcomes_and_goes_on(worker):
    double.delay(1)
    result = chain(double.s(1), double.s())()
    worker.drain()
    assert result.get(timeout=1) == 4
    assert ran("double") == 2
    assert not Operation.all_rows.filter(state__in=Operation.PENDING).exists()


def test_a_chord_with_duplicates_completes_once(worker):
    result = chord([double.s(1), double.s(1), double.s(2)])(total.s())
    worker.drain()
    assert result.get(timeout=1) == 8
    assert (ran("double"), ran("total")) == (2, 1)


def test_a_group_with_duplicates_gets_an_answer_for_each(worker):
    result = group(double.s(n) for n in (1, 2, 1))()
    worker.drain()
    assert result.get(timeout=1) == [2, 4, 2]


def test_a_copy_of_a_message_with_a_callback_does_not_call_back_twice(worker):
    double.apply_async((1,), link=record.si("linked"))
    message = worker.take_one()
    worker.deliver(message)
    worker.drain()
    worker.deliver(message)
    worker.drain()
    assert (ran("double"), ran("linked")) == (1, 1)


def test_a_message_whose_row_is_gone_is_dropped_with_a_log_line(worker, caplog):
    record.delay("a")
    Operation.all_rows.all().delete()
    delivery = worker.deliver_one()
    assert (delivery.state, delivery.acknowledged) == ("IGNORED", True)
    assert "gone" in caplog.text
    assert delivery.id in caplog.text
    assert ran("a") == 0
    assert not Operation.all_rows.exists()


def test_a_message_that_comes_too_early_is_published_again_for_later(worker):
    record.apply_async(("a",), countdown=30)
    message = worker.take_one()
    delivery = worker.deliver(message)
    assert (delivery.state, delivery.acknowledged) == ("IGNORED", True)
    assert ran("a") == 0
    assert worker.take_one().headers["eta"]


def test_a_message_takes_the_newest_arguments_from_the_row(worker):
    operation = record.enqueue("old")
    message = worker.take_one()
    Operation.all_rows.filter(pk=operation.pk).update(payload='[["new"], {}]', revision=1)
    assert worker.deliver(message).value == "new"


def test_a_message_waits_while_the_database_does_not_answer(worker, monkeypatch):
    record.delay("a")
    message = worker.take_one()
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "claim", refuse)
        delivery = worker.deliver(message)
    assert (delivery.state, delivery.acknowledged) == ("IGNORED", True)
    worker.drain()
    assert ran("a") == 1


@pytest.mark.parametrize(
    ("publish", "answer"),
    [
        (lambda: record.delay("a"), (True, False, False)),  # its row brings it back
        (lambda: app.send_task(record.name, ("a",)), (False, True, True)),
    ],
    ids=["with a row", "without"],
)
def test_a_message_is_not_lost_when_neither_database_nor_broker_answers(worker, monkeypatch, publish, answer):
    publish()
    message = worker.take_one()
    monkeypatch.setattr("django_task_safety.producer.outbox.PAUSE", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "claim", refuse)
        patch.setattr(ledger, "enqueue", refuse)
        patch.setattr(Producer, "publish", refuse)
        delivery = worker.deliver(message)
    assert (delivery.acknowledged, delivery.rejected, delivery.requeued) == answer


def test_an_outcome_that_cannot_be_committed_is_not_reported(worker, monkeypatch):
    record.delay("a")
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "settle", refuse)
        patch.setattr(ledger, "requeue", refuse)
        delivery = worker.deliver_one()
    assert (delivery.state, delivery.acknowledged) == ("IGNORED", True)
    assert (Operation.objects.get().state, ran("a")) == (State.RUNNING, 0)
    worker.finish()
    assert (Operation.objects.get().state, Operation.objects.get().attempt, ran("a")) == (State.SUCCEEDED, 2, 1)


def refuse(*args: object, **kwargs: object) -> None:
    raise OperationalError("down")


def test_a_forked_pool_need_not_import_what_answers_its_first_message():
    code = (
        "import sys, django; django.setup()\n"
        "from celery.signals import worker_init\n"
        "worker_init.send(sender=None)\n"
        "sys.exit('django_task_safety.worker.delivery' not in sys.modules)"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT).returncode == 0
