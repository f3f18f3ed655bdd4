"""The thinnest path, end to end: enqueue, row, real worker, settle; on every broker and pool."""

import pytest
from celery import chain, chord

from django_task_safety.models import Operation
from tests.support.workers import until
from tests.testapp.models import Effect, Note
from tests.testapp.tasks import act, copy_note, double, total

pytestmark = pytest.mark.django_db(transaction=True)
State = Operation.State


def drained() -> bool:
    return not Operation.objects.pending().exists()


def test_an_operation_runs_once_and_its_outcome_is_stored(start_worker, pool):
    start_worker(pool=pool)
    note = Note.objects.create(title="a")
    result = copy_note.delay(note, 3)
    until(drained)
    operation = Operation.objects.get(pk=result.id)
    assert (operation.state, operation.result, operation.attempt) == (State.SUCCEEDED, 3, 1)
    assert Note.objects.count() == 4
    assert result.get(timeout=5) == 3


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
@pytest.mark.parametrize(
    ("action", "state", "attempt", "effects"),
    [
        ("ok", State.SUCCEEDED, 1, 1),
        ("flaky", State.SUCCEEDED, 3, 1),
        ("raise", State.FAILED, 1, 0),
        ("ignore", State.CANCELLED, 1, 1),
        ("reject", State.FAILED, 1, 0),
        ("retry", State.SUCCEEDED, 3, 1),
        ("kill", State.SUCCEEDED, 2, 1),
    ],
)
def test_every_way_in_which_an_attempt_can_end_is_recorded(start_worker, action, state, attempt, effects):
    start_worker()
    operation = act.enqueue(action)
    until(drained, timeout=45)
    operation.refresh_from_db()
    assert (operation.state, operation.attempt) == (state, attempt)
    assert Effect.objects.filter(name=action).count() == effects


def test_a_canvas_with_duplicates_in_it_goes_on_exactly_once(start_worker):
    start_worker()
    chained = chain(double.s(4), double.s(), double.s())()
    summed = chord([double.s(100), double.s(100), double.s(101)])(total.s())
    assert chained.get(timeout=30) == 32
    assert summed.get(timeout=30) == 602
    until(drained)
    assert Effect.objects.filter(name="double").count() == 5
    assert Effect.objects.filter(name="total").count() == 1
