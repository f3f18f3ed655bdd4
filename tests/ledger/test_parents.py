"""The parent of chunks: what its end waits for, and what ends, prunes and deletes them together."""

import pytest
from celery.exceptions import Ignore
from django.db import connection, transaction
from django.db.models import F

from django_task_safety import CANCEL, KEEP, PROTECT, ObjectGone, ObjectLocked, idempotent_task, safe_task, split
from django_task_safety.ledger import parents
from django_task_safety.models import Operation
from django_task_safety.signals import BY_NAME
from django_task_safety.worker import sweeper
from tests.celery import app
from tests.support.delivering import about_operations, elsewhere, statements
from tests.support.factories import OrderFactory, PageFactory
from tests.support.operations import state
from tests.support.racing import at_once
from tests.testapp.models import Effect, Order, Page
from tests.testapp.tasks import effect, record

State = Operation.State
#: How the chunk with this primary key ends.
ENDINGS: dict[int, BaseException] = {}


@pytest.fixture(autouse=True)
def _all_ends_well():
    ENDINGS.clear()


def end(pks: list[int]) -> None:
    for pk in pks:
        if pk in ENDINGS:
            raise ENDINGS[pk]
        effect("done", pk)


@safe_task(max_retries=0)
def work(pks: list[int]) -> None:
    end(pks)


@safe_task(max_retries=1, retry_backoff=0.1, retry_on=ConnectionError)
def work_again(pks: list[int]) -> None:
    end(pks)


@safe_task(max_retries=0, atomic=False)
def work_outside(pks: list[int]) -> None:
    end(pks)


@idempotent_task(max_retries=0)
def work_once(pks: list[int]) -> None:
    end(pks)


@safe_task(on_delete=CANCEL)
def cancelled_with(page: Page, pks: list[int]) -> None: ...


@safe_task(on_delete=PROTECT)
def protects(page: Page, pks: list[int]) -> None: ...


@safe_task(on_delete=KEEP)
def keeps(page: Page, pks: list[int]) -> None:
    end(pks)


def make(number: int) -> list[int]:
    return sorted(order.pk for order in OrderFactory.create_batch(number))


def split_orders(number: int, task=work, size: int = 1, **arguments) -> Operation:
    make(number)
    return split(Order.objects.all(), size, task, **arguments)


def states(parent: Operation) -> list[str]:
    return [state(parent), *(child.state for child in parent.children)]


def done() -> list[int]:
    return sorted(int(key) for key in Effect.objects.filter(name="done").values_list("key", flat=True))


@pytest.mark.parametrize("task", [work, work_outside, work_once])
def test_the_end_of_the_last_chunk_ends_the_parent(worker, task):
    parent = split_orders(3, task)
    for message in worker.take():
        assert state(parent) == State.RUNNING
        worker.deliver(message)
    assert states(parent) == [State.SUCCEEDED] * 4


def test_a_chunk_that_is_retried_keeps_the_parent_pending(worker):
    (first, _) = make(2)
    ENDINGS[first] = ConnectionError("not now")
    parent = split(Order.objects.all(), 1, work_again)
    for message in worker.take():
        worker.deliver(message)
    assert states(parent) == [State.RUNNING, State.QUEUED, State.SUCCEEDED]
    ENDINGS.clear()
    worker.finish()
    assert states(parent) == [State.SUCCEEDED] * 3


@pytest.mark.parametrize(
    ("endings", "ended", "error"),
    [
        ([ValueError("no")], State.FAILED, "1 of 3 chunks failed"),
        ([Ignore("no"), ValueError("no")], State.FAILED, "1 of 3 chunks failed; 1 more were cancelled"),
        ([Ignore("no")], State.CANCELLED, "1 of 3 chunks were cancelled"),
    ],
)
def test_the_parent_ends_as_the_worst_of_its_chunks(worker, endings, ended, error):
    ENDINGS.update(zip(make(3), endings, strict=False))
    parent = split(Order.objects.all(), 1, work)
    worker.drain()
    parent.refresh_from_db()
    assert (parent.state, parent.error) == (ended, error)
    assert parent.progress == pytest.approx((3 - len(endings)) / 3)


def test_the_last_chunk_that_is_cancelled_ends_the_parent(worker):
    parent = split_orders(2)
    worker.deliver(worker.take()[0])
    assert parent.children[1].cancel() is True
    assert states(parent) == [State.CANCELLED, State.SUCCEEDED, State.CANCELLED]


def test_chunks_that_are_cancelled_together_end_the_parent_with_the_next_sweep(worker):
    parent = split_orders(2)
    assert parent.children.cancel("enough") == 2
    worker.pass_time(6)
    sweeper.sweep()
    assert states(parent) == [State.CANCELLED] * 3


def test_the_chunk_whose_worker_is_lost_for_good_ends_the_parent(worker):
    parent = split_orders(1)
    Operation.objects.filter(parent_id=parent.pk).update(state=State.RUNNING, attempt=1, token=parent.pk)
    worker.pass_time(3600)
    sweeper.sweep()
    assert states(parent) == [State.FAILED] * 2


def test_a_chunk_that_expires_cancels_the_parent_in_the_end(worker):
    parent = split_orders(1)
    Operation.objects.filter(parent_id=parent.pk).update(expires_at=F("created_at"), due_at=F("created_at"))
    for _ in range(2):
        worker.pass_time(60)
        sweeper.sweep()
    assert states(parent) == [State.CANCELLED] * 2


def test_two_chunks_that_end_at_the_same_moment_end_the_parent_once(worker):
    heard = []

    def hears(operation: Operation, **kwargs: object) -> None:
        if operation.task == parents.SPLIT:
            heard.append(operation.pk)

    BY_NAME["succeeded"].connect(hears)
    try:
        for _ in range(5):
            parent = split_orders(2)
            Operation.objects.filter(parent_id=parent.pk).update(state=State.SUCCEEDED)
            at_once(*[lambda pk=parent.pk: parents.settle_parent(pk)] * 2)
            assert state(parent) == State.SUCCEEDED
            assert heard == [parent.pk]
            heard.clear()
    finally:
        BY_NAME["succeeded"].disconnect(hears)


def test_an_ordinary_operation_costs_no_statement_more(worker):
    record.delay("a")
    message = worker.take_one()
    with statements() as found:
        worker.deliver(message)
    assert len(about_operations(found)) == 2
    parent = split_orders(2)
    one, other = worker.take()
    with statements() as found:
        worker.deliver(one)
    assert len(about_operations(found)) == 3  # is another chunk pending?
    with statements() as found:
        worker.deliver(other)
    assert len(about_operations(found)) == 6  # no: the parent, the count, its end
    assert state(parent) == State.SUCCEEDED


def test_the_progress_of_a_list_of_parents_is_read_in_one_statement(worker):
    for _ in range(3):
        split(Order.objects.all(), 1, work)
    made = [split_orders(2) for _ in range(3)]
    worker.deliver(worker.take()[0])
    found = list(Operation.objects.filter(task=parents.SPLIT).order_by("pk"))
    with statements() as asked:
        parents.load_progress(found)
        progress = [operation.progress for operation in found]
    assert len(asked) == 1
    assert progress == [1.0, 1.0, 1.0, 0.5, 0.0, 0.0]
    assert [operation.pk for operation in found][3:] == [operation.pk for operation in made]


def test_a_sweep_notes_how_far_the_parents_are(worker):
    parent = split_orders(4)
    worker.deliver(worker.take()[0])
    worker.pass_time(6)
    sweeper.sweep()
    assert Operation.objects.values_list("progress", flat=True).get(pk=parent.pk) == 0.25
    assert state(parent) == State.RUNNING


def test_a_parent_and_its_chunks_are_pruned_together_and_not_before(worker, settings):
    settings.TASK_SAFETY = {**settings.TASK_SAFETY, "SWEEP_BATCH": 2}
    parent = split_orders(5)
    worker.deliver(worker.take()[0])
    worker.pass_time(40 * 86_400)
    assert parent.children[0].state == State.SUCCEEDED
    worker.finish()
    sweeper.sweep()
    assert states(parent) == [State.SUCCEEDED] * 6
    for _ in range(5):
        worker.pass_time(31 * 86_400)
        sweeper.sweep()
        # Never chunks without their parent.
        left = Operation.all_rows.filter(parent_id=parent.pk).exists()
        assert not left or Operation.objects.filter(pk=parent.pk).exists()
    assert not Operation.all_rows.exists()


def test_a_retry_of_a_cancelled_parent_goes_on_with_the_rest(worker):
    parent = split_orders(3)
    worker.deliver(worker.take()[0])
    parent.cancel()
    assert parent.retry() is True
    worker.drain()
    assert states(parent) == [State.SUCCEEDED] * 4
    assert done() == sorted(Order.objects.values_list("pk", flat=True))


def test_a_rerun_of_a_parent_that_succeeded_does_all_chunks_once_more_as_new_work(worker):
    parent = split_orders(2)
    keys = {child.idempotency_key for child in parent.children}
    worker.drain()
    parent.refresh_from_db()
    assert parent.retry() is False
    assert parent.rerun() is True
    worker.drain()
    assert states(parent) == [State.SUCCEEDED] * 3
    assert len(done()) == 4
    assert not keys & {child.idempotency_key for child in parent.children}


def test_a_retry_that_is_rolled_back_changes_nothing(worker):
    ENDINGS.update(dict.fromkeys(make(1), ValueError("no")))
    parent = split(Order.objects.all(), 1, work)
    worker.drain()
    with transaction.atomic():
        assert parent.retry() is True
        transaction.set_rollback(True)
    assert states(parent) == [State.FAILED] * 2
    assert worker.take() == []


def test_a_delete_of_the_object_cancels_the_parent_and_its_chunks(worker):
    page = PageFactory()
    parent = split_orders(2, cancelled_with, page=page)
    page.delete()
    assert states(parent) == [State.CANCELLED] * 3
    with pytest.raises(ObjectGone):
        parent.retry()
    assert states(parent) == [State.CANCELLED] * 3


def test_the_object_is_protected_until_the_last_chunk_has_ended(worker):
    page = PageFactory()
    parent = split_orders(2, protects, page=page)
    for message in worker.take():
        with pytest.raises(ObjectLocked) as refused:
            page.delete()
        assert parent in refused.value.protected_objects
        worker.deliver(message)
    assert states(parent) == [State.SUCCEEDED] * 3
    page.delete()


def test_a_parent_whose_object_is_kept_ends_when_the_object_is_gone(worker):
    page = PageFactory()
    parent = split_orders(2, keeps, page=page)
    page.delete()
    worker.drain()
    worker.pass_time(6)
    sweeper.sweep()
    assert states(parent) == [State.CANCELLED] * 3


def test_a_second_split_of_the_same_rows_does_nothing_twice_and_ends_as_the_first(worker):
    ENDINGS[make(3)[0]] = ValueError("no")
    first, second = (split(Order.objects.all(), 1, work_once) for _ in range(2))
    assert first.children.count() == second.children.count() == 3
    worker.finish()
    assert states(first) == [State.FAILED, State.FAILED, State.SUCCEEDED, State.SUCCEEDED]
    assert states(second) == states(first)
    assert len(done()) == 2
    assert Operation.objects.filter(task=work_once.name).count() == 3
    third = split(Order.objects.all(), 1, work_once)
    ENDINGS.clear()
    worker.finish()
    assert states(third) == [State.SUCCEEDED] * 4
    assert len(done()) == 3
    # The first one's chunk has succeeded now.
    assert state(first) == State.SUCCEEDED


def test_a_retry_of_the_second_split_of_the_same_rows_retries_the_work_of_the_first(worker):
    ENDINGS[make(2)[0]] = ValueError("no")
    _, second = (split(Order.objects.all(), 1, work_once) for _ in range(2))
    worker.finish()
    ENDINGS.clear()
    second.refresh_from_db()
    assert second.retry() is True
    worker.finish()
    assert states(second) == [State.SUCCEEDED] * 3
    assert len(done()) == 2


def test_a_cancel_of_the_second_split_of_the_same_rows_leaves_the_work_to_the_first(worker):
    make(2)
    first, second = (split(Order.objects.all(), 1, work_once) for _ in range(2))
    second.cancel()
    worker.finish()
    assert states(first) == [State.SUCCEEDED] * 3
    assert states(second) == [State.CANCELLED] * 3


def test_a_split_in_eager_mode_runs_its_chunks_at_once(worker):
    pks = make(3)
    app.conf.task_always_eager = True
    try:
        parent = split(Order.objects.all(), 2, work)
        assert (parent.state, done()) == (State.SUCCEEDED, pks)
        ENDINGS[pks[0]] = ValueError("no")
        parent = split(Order.objects.all(), 2, work)
        assert parent.state == State.FAILED
        ENDINGS.clear()
        assert parent.retry() is True
        assert states(parent) == [State.SUCCEEDED] * 3
    finally:
        app.conf.task_always_eager = False


def test_a_cancel_meets_a_chunk_that_runs(worker):
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer: a cancel waits for the body's transaction")
    parent = split_orders(2, cancels_its_parent)
    for message in worker.take():
        worker.deliver(message)
    assert states(parent) == [State.CANCELLED] * 3
    assert done() == []


@safe_task(max_retries=0)
def cancels_its_parent(pks: list[int]) -> None:
    end(pks)
    elsewhere(Operation.objects.get(task=parents.SPLIT).cancel)


def test_a_parent_that_no_sweep_looks_at_says_so(worker):
    split_orders(1)
    worker.pass_time(3600)
    stuck = Operation.objects.stuck().get(task=parents.SPLIT)
    assert stuck.why.startswith("Nobody sweeps")
