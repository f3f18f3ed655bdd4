"""Many processes want the same thing at the same time."""

from pathlib import Path

import pytest

from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from tests.crash import scenario_steps, tasks
from tests.crash.counting import State, assert_charged_once, assert_never_charged, effects, operation
from tests.crash.fault_matrix import meet_everywhere
from tests.crash.messages import deliver, drain, letter_of, message_of
from tests.testapp.models import Order

EIGHT = range(8)


def call(worker, number, **kwargs):
    """Call the task for a new order, and return its message."""
    Order.objects.create(number=number, amount=1)
    tasks.charge.apply_async((number,), kwargs)
    return letter_of(worker.take_one())


def runs(notes: Path) -> int:
    return len(notes.read_text().splitlines()) if notes.exists() else 0


@pytest.mark.parametrize("number", range(3))
def test_of_eight_processes_with_the_same_message_exactly_one_runs_it(victims, worker, tmp_path, number):
    notes = tmp_path / "notes"
    letter = call(worker, number, note_in=str(notes))
    outcomes = victims.race("deliver", [{"letter": letter} for _ in EIGHT])
    assert runs(notes) == 1
    assert operation(number).attempt == 1
    assert all(outcome.value["acknowledged"] for outcome in outcomes)
    assert_charged_once(number)


def test_of_eight_processes_with_messages_of_their_own_for_one_key_exactly_one_runs_it(victims, worker, tmp_path):
    notes = tmp_path / "notes"
    Order.objects.create(number=1, amount=1)
    for _ in EIGHT:
        worker.app.send_task(tasks.charge.name, (1,), {"note_in": str(notes)})
    letters = [letter_of(message) for message in worker.take()]
    victims.race("deliver", [{"letter": letter} for letter in letters])
    assert runs(notes) == 1
    drain(worker)
    assert runs(notes) == 1
    assert_charged_once(1)


@pytest.mark.parametrize(
    "undo",
    [[None] * 8, [False] * 8, [False, True] * 4, [True] * 7 + [False], [None, True] * 4],
    ids=["autocommit", "transactions", "half-roll-back", "all-but-one-roll-back", "autocommit-and-rollbacks"],
)
@pytest.mark.parametrize("number", range(3))
def test_of_eight_processes_that_enqueue_one_key_all_get_the_same_row(victims, worker, tmp_path, undo, number):
    Order.objects.create(number=number, amount=1)
    notes = tmp_path / "notes"
    details = [{"number": number, "note_in": str(notes), "undo": each} for each in undo]
    outcomes = victims.race("enqueue", details)
    (row,) = Operation.all_rows.all()
    assert {outcome.value for outcome in outcomes} - {""} == {str(row.pk)}
    drain(worker)
    assert runs(notes) == 1
    assert_charged_once(number)


def test_eight_processes_whose_transactions_all_roll_back_leave_no_row(victims, worker):
    victims.race("enqueue", [{"number": 1, "undo": True} for _ in EIGHT])
    assert not Operation.all_rows.exists()


def test_eight_sweepers_at_once_requeue_and_compensate_each_operation_once(victims, worker):
    for number in EIGHT:
        tasks.charge_once.delay(number)
    Operation.objects.update(state=State.RUNNING, attempt=1)
    worker.pass_time(61)
    victims.race("sweep", [{} for _ in EIGHT])
    assert [effects("refund", number) for number in EIGHT] == [1] * 8
    assert set(Operation.objects.values_list("state", flat=True)) == {State.FAILED}


def test_a_sweep_at_any_point_of_a_delivery_leaves_the_living_attempt_alone(victims, worker):
    def prepare(number):
        return {"letter": call(worker, number)}

    def sweep(number, details):
        return sweeper.sweep()

    for meeting in meet_everywhere(victims, "deliver", prepare, sweep):
        assert not meeting.rivals_answer, meeting
        assert operation(meeting.number).attempt == 1
        assert_charged_once(meeting.number)


def test_a_cancel_at_any_point_of_a_delivery_is_all_or_nothing(victims, worker):
    def prepare(number):
        return {"letter": call(worker, number)}

    def cancel(number, details):
        return scenario_steps.cancel_order(number, details["letter"]["headers"]["id"])

    orders = set()
    for meeting in meet_everywhere(victims, "deliver", prepare, cancel):
        cancelled = meeting.rivals_answer
        orders.add((meeting.rival_first, cancelled))
        if cancelled:
            assert_never_charged(meeting.number, State.CANCELLED)
        else:
            assert_charged_once(meeting.number)
    # Before the claim or during the body; in the way of the settling; after everything.
    assert orders >= {(True, True), (False, False), (True, False)}


def test_a_delivery_at_any_point_of_a_cancel_is_all_or_nothing(victims, worker):
    letters = {}

    def prepare(number):
        letters[number] = call(worker, number)
        return {"number": number, "pk": letters[number]["headers"]["id"]}

    def run(number, details):
        return worker.deliver(message_of(letters[number])).state

    orders = set()
    for meeting in meet_everywhere(victims, "cancel_order", prepare, run):
        cancelled = meeting.victims_answer
        orders.add((meeting.rival_first, cancelled))
        if cancelled:
            assert_never_charged(meeting.number, State.CANCELLED)
        else:
            assert_charged_once(meeting.number)
    assert orders >= {(True, False), (False, True), (True, True)}


@pytest.mark.parametrize("undo", [True, False], ids=["rolls-back", "commits"])
def test_a_call_that_meets_one_in_an_open_transaction_is_made_whatever_becomes_of_that(victims, worker, undo):
    def prepare(number):
        Order.objects.create(number=number, amount=1)
        return {"number": number, "undo": undo}

    def enqueue(number, details):
        return scenario_steps.enqueue(number, undo=False)

    orders = set()
    for meeting in meet_everywhere(victims, "enqueue", prepare, enqueue):
        orders.add(meeting.rival_first)
        row = operation(meeting.number)
        assert row is not None, f"the call is lost: {meeting}"
        assert str(row.pk) == meeting.rivals_answer
        assert meeting.victims_answer == ("" if undo else str(row.pk))
        drain(worker)
        assert_charged_once(meeting.number)
    assert orders == {True, False}


def test_a_message_that_comes_before_the_enqueuing_transaction_has_ended_harms_nothing(victims, worker):
    def prepare(number):
        return {"number": number}

    def early(number, details):
        worker.app.send_task(tasks.charge.name, (number,))
        deliver(worker, [letter_of(worker.take_one())])

    for meeting in meet_everywhere(victims, "place_order", prepare, early):
        drain(worker)
        assert operation(meeting.number).state == State.SUCCEEDED
        assert effects("charge", meeting.number) == 1
