"""One task over many rows: chunks under a parent, which ends as they do."""

import pytest

from django_task_safety import idempotent_task, safe_task, split
from django_task_safety.ledger import parents
from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from tests.support.delivering import undone
from tests.support.factories import OrderFactory
from tests.support.operations import state
from tests.testapp.models import Effect, Order
from tests.testapp.tasks import effect

State = Operation.State
BROKEN: set[int] = set()


@pytest.fixture(autouse=True)
def _nothing_is_broken():
    BROKEN.clear()


@safe_task(max_retries=0)
def visit(pks: list[int], by: int = 1) -> int:
    """Count the visits of orders."""
    if BROKEN & set(pks):
        raise ValueError("broken")
    for pk in pks:
        effect("visit", pk)
    return len(pks)


@idempotent_task(max_retries=0)
def visit_once(pks: list[int]) -> None:
    visit.body(pks)


def make(number: int) -> list[int]:
    return [order.pk for order in OrderFactory.create_batch(number)]


def visited() -> list[int]:
    return sorted(int(key) for key in Effect.objects.filter(name="visit").values_list("key", flat=True))


def test_each_chunk_is_an_operation_under_one_parent(worker):
    pks = make(5)
    parent = split(Order.objects.all(), 2, visit, by=3)
    assert parent.is_pending
    assert (parent.parent, parent.size, parent.title) == (None, 5, "Visit")
    assert [child.parent for child in parent.children] == [parent] * 3
    assert [child.size for child in parent.children] == [2, 2, 1]
    assert {child.task for child in parent.children} == {visit.name}
    worker.drain()
    assert visited() == pks
    parent.refresh_from_db()
    assert (parent.state, parent.progress, parent.error) == (State.SUCCEEDED, 1.0, "")
    assert parent.ended_at is not None
    assert [child.result for child in parent.children] == [2, 2, 1]


def test_the_progress_of_the_parent_is_the_mean_of_its_chunks_weighted_by_their_sizes(worker):
    make(5)
    parent = split(Order.objects.all(), 2, visit)
    parent.refresh_from_db()
    assert parent.progress == 0
    worker.deliver(worker.take()[0])
    parent.refresh_from_db()
    assert parent.progress == pytest.approx(2 / 5)
    Operation.objects.filter(pk=parent.children[2].pk).update(progress=0.5)
    assert Operation.objects.get(pk=parent.pk).progress == pytest.approx(2.5 / 5)


def test_a_failed_chunk_lets_the_others_run_and_the_parent_says_how_many_failed(worker):
    pks = make(6)
    BROKEN.update(pks[:3:2])
    parent = split(Order.objects.all(), 2, visit)
    worker.drain()
    parent.refresh_from_db()
    assert (parent.state, parent.error) == (State.FAILED, "2 of 3 chunks failed")
    assert visited() == pks[4:]


def test_no_rows_are_done_at_once(worker):
    parent = split(Order.objects.none(), 2, visit)
    assert (parent.state, parent.progress, list(parent.children)) == (State.SUCCEEDED, 1.0, [])
    assert state(parent) == State.SUCCEEDED
    assert worker.take() == []


def test_cancelling_the_parent_cancels_its_pending_chunks(worker):
    pks = make(6)
    parent = split(Order.objects.all(), 2, visit)
    worker.deliver(worker.take()[0])
    assert parent.cancel("not needed") is True
    assert [child.state for child in parent.children] == [State.SUCCEEDED, State.CANCELLED, State.CANCELLED]
    assert {child.error for child in parent.children[1:]} == {"not needed"}
    assert (state(parent), parent.cancel()) == (State.CANCELLED, False)
    worker.drain()
    assert visited() == pks[:2]


def test_cancelling_a_queryset_with_a_parent_cancels_its_pending_chunks(worker):
    make(4)
    parent, other = split(Order.objects.all(), 2, visit), split(Order.objects.all(), 2, visit)
    assert Operation.objects.filter(pk=parent.pk).cancel() == 1
    assert {child.state for child in parent.children} == {State.CANCELLED}
    assert {child.state for child in other.children} == {State.QUEUED}


def test_a_retry_of_the_failed_parent_retries_the_failed_chunks_only(worker):
    pks = make(6)
    BROKEN.add(pks[0])
    parent = split(Order.objects.all(), 2, visit)
    worker.drain()
    BROKEN.clear()
    parent.refresh_from_db()
    assert parent.retry(by=7) is True
    assert (parent.state, parent.error, parent.progress) == (State.RUNNING, "", pytest.approx(4 / 6))
    assert parent.retry() is False
    assert [child.state for child in parent.children] == [State.QUEUED, State.SUCCEEDED, State.SUCCEEDED]
    worker.drain()
    assert visited() == pks
    assert (state(parent), parent.children.get(pk=parent.children[0].pk).error) == (State.SUCCEEDED, "")
    parent.refresh_from_db()
    assert [(one.what, one.by) for one in parent.events] == [("retry", "7")]


def test_a_split_that_is_rolled_back_leaves_nothing(worker):
    make(3)
    with undone():
        split(Order.objects.all(), 2, visit)
    assert not Operation.all_rows.exists()
    assert worker.take() == []


def test_the_next_sweep_settles_a_parent_whose_last_chunk_ended_unseen(worker):
    make(3)
    parent = split(Order.objects.all(), 2, visit)
    Operation.objects.filter(parent_id=parent.pk).update(state=State.SUCCEEDED)
    worker.pass_time(6)
    assert sweeper.sweep().settled == 1
    assert state(parent) == State.SUCCEEDED


def test_a_chunk_that_is_retried_while_its_parent_is_about_to_end_keeps_it_pending(worker, monkeypatch):
    pks = make(2)
    BROKEN.add(pks[0])
    parent = split(Order.objects.all(), 1, visit)
    counted = parents.tallies

    def retry_after_counting(found):
        tally = counted(found)
        monkeypatch.undo()
        assert parent.children[0].retry() is True
        return tally

    monkeypatch.setattr(parents, "tallies", retry_after_counting)
    for message in worker.take():
        worker.deliver(message)
    assert [child.state for child in parent.children] == [State.QUEUED, State.SUCCEEDED]
    assert state(parent) == State.RUNNING
    BROKEN.clear()
    worker.drain()
    assert state(parent) == State.SUCCEEDED


def test_a_retry_of_one_chunk_reopens_the_parent(worker):
    pks = make(2)
    BROKEN.update(pks)
    parent = split(Order.objects.all(), 1, visit)
    worker.drain()
    assert state(parent) == State.FAILED
    BROKEN.clear()
    assert parent.children[1].retry() is True
    assert state(parent) == State.RUNNING
    worker.drain()
    parent.refresh_from_db()
    assert (parent.state, parent.error) == (State.FAILED, "1 of 2 chunks failed")
    assert [one.error for one in parent.attempts] == ["2 of 2 chunks failed", "1 of 2 chunks failed"]
