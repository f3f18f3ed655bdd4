"""Asking for work: the row in the caller's transaction, and the message after its commit."""

import uuid
from datetime import timedelta

import pytest
from celery.result import AsyncResult
from django.db import connection, transaction
from django.utils import timezone
from kombu.exceptions import OperationalError
from kombu.messaging import Producer

from django_task_safety import InvalidArguments, InvalidOption
from django_task_safety.models import Operation
from tests.support.delivering import statements, undone
from tests.support.factories import MachineFactory
from tests.support.ids import label
from tests.testapp.models import Effect, Note
from tests.testapp.tasks import add, charge, copy_note, record

State = Operation.State


def test_delay_answers_a_result_whose_id_is_the_operations(worker):
    result = record.delay("a")
    operation = Operation.objects.get()
    assert isinstance(result, AsyncResult)
    assert result.id == str(operation.pk)
    assert (operation.state, operation.task, operation.attempt) == (State.QUEUED, "tests.testapp.tasks.record", 0)


def test_the_id_of_a_call_is_known_before_the_commit(worker):
    with transaction.atomic():
        result = record.delay("a")
        assert Operation.objects.get().pk == uuid.UUID(result.id)


def test_enqueue_answers_the_row(worker):
    operation = add.enqueue(1, b=2)
    assert operation == Operation.objects.get()
    assert operation.is_pending
    assert operation.result is None
    assert operation.created_at <= timezone.now() + timedelta(seconds=5)


def test_an_enqueued_operation_can_be_an_argument_of_another_task(worker):
    first, (second,) = record.enqueue("a"), record.enqueue_many([("b",)])
    with MachineFactory().lock() as third:
        for operation in (first, second, third):
            assert (operation._state.adding, operation._state.db) == (False, "default")
            assert record.delay(operation).id
            operation.validate_unique()


@pytest.mark.parametrize("task", [record, charge])
def test_enqueueing_costs_one_statement(worker, task):
    with statements() as found:
        task.delay(1)
    assert len(found) == 1, found


@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_duplicate_costs_two_statements_at_most(worker, in_transaction):
    charge.delay(1)
    with statements() as found:
        if in_transaction:
            with transaction.atomic():
                charge.delay(1)
        else:
            charge.delay(1)
    assert len(found) <= 2, found
    assert Operation.objects.count() == 1


def test_a_call_that_is_rolled_back_leaves_no_row_and_publishes_nothing(worker):
    with undone():
        record.delay("a")
    assert not Operation.all_rows.exists()
    assert worker.take() == []


def test_a_rolled_back_savepoint_takes_only_the_calls_made_inside(worker):
    with transaction.atomic():
        kept = record.enqueue("kept")
        with undone():
            record.delay("undone")
    assert [operation.pk for operation in Operation.objects.all()] == [kept.pk]
    assert worker.take_one().headers["id"] == str(kept.pk)


def test_nothing_is_published_before_the_commit(worker):
    with transaction.atomic():
        result = record.delay("a")
        assert worker.take() == []
    assert worker.take_one().headers["id"] == result.id


def test_a_duplicate_that_is_rolled_back_leaves_the_first_call(worker):
    first = charge.delay(1)
    with undone():
        assert charge.delay(1).id == first.id
    assert Operation.objects.get().state == State.QUEUED


def test_a_duplicate_leaves_the_callers_transaction_usable(worker):
    charge.delay(1)
    with transaction.atomic():
        charge.delay(1)
        Note.objects.create(title="still writable")
    assert Note.objects.count() == 1


def test_a_duplicate_is_not_published_again(worker):
    charge.delay(1)
    worker.take_one()
    charge.delay(1)
    assert worker.take() == []


def test_a_broker_that_is_down_costs_a_log_line_and_no_error(worker, monkeypatch, caplog):
    def refuse(*args, **kwargs):
        raise OperationalError("down")

    monkeypatch.setattr("django_task_safety.producer.outbox.PAUSE", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(Producer, "publish", refuse)
        record.delay("a")
    assert Operation.objects.get().state == State.QUEUED
    assert "wait for the sweeper" in caplog.text
    record.delay("b")
    assert len(worker.take()) == 1


def test_the_message_names_its_row(worker):
    operation = charge.enqueue(7)
    headers = worker.take_one().headers
    assert headers["id"] == headers["task_safety"]["op"] == str(operation.pk)


def test_a_task_id_that_the_caller_gives_is_the_operations_id(worker):
    mine = str(uuid.uuid4())
    assert record.apply_async(("a",), task_id=mine).id == mine
    assert str(Operation.objects.get().pk) == mine


def test_a_task_id_that_is_no_uuid_is_refused_with_advice(worker):
    with pytest.raises(InvalidOption, match=r"not a UUID.*key="):
        record.apply_async(("a",), task_id="order-17")
    assert not Operation.objects.exists()


def test_a_task_id_that_belongs_to_another_operation_is_refused(worker):
    mine = record.delay("a").id
    with pytest.raises(InvalidOption, match=mine):
        add.apply_async((1,), task_id=mine)
    assert Operation.objects.count() == 1


def test_enqueue_many_answers_in_order(worker):
    operations = add.enqueue_many([(3, 1), {"a": 1}, (2,), {"a": 0, "b": 5}])
    worker.drain()
    results = [Operation.objects.get(pk=operation.pk).result for operation in operations]
    assert results == [4, 1, 2, 5]


def test_the_statements_of_enqueue_many_do_not_grow_with_the_calls(worker, monkeypatch):
    # Before 6.0 Django takes every SQLite for one with 999 parameters.
    monkeypatch.setattr(type(connection.features), "max_query_params", 30_000)

    def count(numbers: range) -> int:
        with statements() as found:
            add.enqueue_many([(number,) for number in numbers])
        return len(found)

    assert count(range(5)) == count(range(100, 300)) <= 2


def test_more_than_a_batch_of_calls_are_all_enqueued_and_published(worker, settings):
    settings.TASK_SAFETY = {"SWEEP_BATCH": 10}
    operations = add.enqueue_many([(number,) for number in range(35)])
    assert len({operation.pk for operation in operations}) == 35 == Operation.objects.count()
    assert len(worker.take()) == 35


def test_duplicates_in_one_enqueue_many_share_one_operation(worker):
    earlier = add.enqueue(9)
    worker.take()
    operations = add.enqueue_many([(1,), (9,), {"a": 1}, (2,), (1, 0)])
    assert [operation.pk == operations[0].pk for operation in operations] == [True, False, True, False, True]
    assert operations[1].pk == earlier.pk
    assert Operation.objects.count() == 3
    assert len(worker.take()) == 2


def test_enqueue_many_of_no_calls_makes_no_operations(worker):
    assert add.enqueue_many([]) == []
    assert not Operation.objects.exists()


@pytest.mark.parametrize("bad", [5, "ab", b"ab", None])
def test_enqueue_many_takes_tuples_and_dicts_only(worker, bad):
    with pytest.raises(InvalidArguments, match="tuples"):
        add.enqueue_many([(1,), bad])
    assert not Operation.objects.exists()


def test_a_bad_call_among_many_enqueues_none_of_them(worker):
    with pytest.raises(InvalidArguments):
        add.enqueue_many([(1,), (1, 2, 3)])
    assert not Operation.objects.exists()


def test_calls_of_enqueue_many_are_rolled_back_together(worker):
    with undone():
        add.enqueue_many([(1,), (2,)])
    assert not Operation.objects.exists()
    assert worker.take() == []


def test_an_operations_subject_is_the_first_model_argument(worker):
    other, note = Note.objects.create(title="other"), Note.objects.create(title="note")
    operation = copy_note.enqueue(note, 2)
    assert operation.subject == note
    assert list(Operation.objects.for_object(note)) == [operation]
    assert not Operation.objects.for_object(other).exists()


def test_an_operation_without_a_model_argument_has_no_subject(worker):
    assert record.enqueue("a").subject is None


def test_send_task_by_name_is_an_operation_when_it_is_delivered(worker):
    record.app.send_task(record.name, ("sent",))
    assert not Operation.objects.exists()
    worker.drain()
    assert Operation.objects.get().state == State.SUCCEEDED
    assert Effect.objects.filter(name="sent").count() == 1


def test_delay_of_a_signature_makes_an_operation(worker):
    result = record.si("signed").delay()
    assert str(Operation.objects.get().pk) == result.id


@pytest.mark.parametrize("late", [float("nan"), float("inf"), 1e300, timedelta.max, "5", True, -1], ids=label)
def test_stuck_takes_a_duration(db, late):
    with pytest.raises(InvalidArguments, match="stuck"):
        Operation.objects.stuck(late)


def test_an_operation_that_is_due_is_stuck_at_once_if_the_caller_says_so(worker):
    operation = record.enqueue("a")
    worker.pass_time(1)
    assert list(Operation.objects.stuck(0)) == [operation]


def test_pending_and_stuck_operations_are_found(worker):
    old = record.enqueue("old")
    worker.pass_time(61)
    new = record.enqueue("new")
    assert set(Operation.objects.pending()) == {old, new}
    assert list(Operation.objects.stuck()) == [old]
    assert list(Operation.objects.stuck(timedelta(hours=1))) == []
    worker.drain()
    assert not Operation.objects.pending().exists()
    assert not Operation.objects.stuck().exists()
