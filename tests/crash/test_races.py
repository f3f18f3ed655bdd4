"""Many processes want the same thing at the same time."""

from pathlib import Path

import pytest

from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from tests.crash import scenario_steps, tasks
from tests.crash.counting import State, assert_charged_once, assert_never_charged, effects, operation
from tests.crash.fault_matrix import race_at_every_point
from tests.crash.messages import deliver, drain, from_json, to_json
from tests.testapp.models import Order

EIGHT = range(8)


def call(worker, number, **kwargs):
    """Call the task for a new order, and return its message."""
    Order.objects.create(number=number, amount=1)
    tasks.charge.apply_async((number,), kwargs)
    return to_json(worker.take_one())


def runs(notes: Path) -> int:
    return len(notes.read_text().splitlines()) if notes.exists() else 0


@pytest.mark.parametrize("number", range(3))
def test_of_eight_processes_with_the_same_message_exactly_one_runs_it(processes, worker, tmp_path, number):
    notes = tmp_path / "notes"
    message = call(worker, number, note_in=str(notes))
    outcomes = processes.run_together("deliver", [{"message": message} for _ in EIGHT])
    assert runs(notes) == 1
    assert operation(number).attempt == 1
    assert all(outcome.value["acknowledged"] for outcome in outcomes)
    assert_charged_once(number)


def test_of_eight_processes_with_messages_of_their_own_for_one_key_exactly_one_runs_it(processes, worker, tmp_path):
    notes = tmp_path / "notes"
    Order.objects.create(number=1, amount=1)
    for _ in EIGHT:
        worker.app.send_task(tasks.charge.name, (1,), {"note_in": str(notes)})
    messages = [to_json(message) for message in worker.take()]
    processes.run_together("deliver", [{"message": message} for message in messages])
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
def test_of_eight_processes_that_enqueue_one_key_all_get_the_same_row(processes, worker, tmp_path, undo, number):
    Order.objects.create(number=number, amount=1)
    notes = tmp_path / "notes"
    details = [{"number": number, "note_in": str(notes), "undo": each} for each in undo]
    outcomes = processes.run_together("enqueue", details)
    (row,) = Operation.all_rows.all()
    assert {outcome.value for outcome in outcomes} - {""} == {str(row.pk)}
    drain(worker)
    assert runs(notes) == 1
    assert_charged_once(number)


def test_eight_processes_whose_transactions_all_roll_back_leave_no_row(processes, worker):
    processes.run_together("enqueue", [{"number": 1, "undo": True} for _ in EIGHT])
    assert not Operation.all_rows.exists()


def test_eight_sweepers_at_once_requeue_and_compensate_each_operation_once(processes, worker):
    for number in EIGHT:
        tasks.charge_once.delay(number)
    Operation.objects.update(state=State.RUNNING, attempt=1)
    worker.pass_time(61)
    processes.run_together("sweep", [{} for _ in EIGHT])
    assert [effects("refund", number) for number in EIGHT] == [1] * 8
    assert set(Operation.objects.values_list("state", flat=True)) == {State.FAILED}


@pytest.mark.live
def test_a_sweep_at_any_point_of_a_delivery_leaves_the_living_attempt_alone(processes, worker):
    def prepare(number):
        return {"message": call(worker, number)}

    def sweep(number, details):
        return sweeper.sweep()

    for race in race_at_every_point(processes, "deliver", prepare, sweep):
        assert not race.rival_result, race
        assert operation(race.number).attempt == 1
        assert_charged_once(race.number)


@pytest.mark.live
def test_a_cancel_at_any_point_of_a_delivery_is_all_or_nothing(processes, worker):
    def prepare(number):
        return {"message": call(worker, number)}

    def cancel(number, details):
        return scenario_steps.cancel_order(number, details["message"]["headers"]["id"])

    orders = set()
    for race in race_at_every_point(processes, "deliver", prepare, cancel):
        cancelled = race.rival_result
        orders.add((race.rival_first, cancelled))
        if cancelled:
            assert_never_charged(race.number, State.CANCELLED)
        else:
            assert_charged_once(race.number)
    # Before the claim or during the body; in the way of the settling; after everything.
    assert orders >= {(True, True), (False, False), (True, False)}


@pytest.mark.live
def test_a_delivery_at_any_point_of_a_cancel_is_all_or_nothing(processes, worker):
    messages = {}

    def prepare(number):
        messages[number] = call(worker, number)
        return {"number": number, "pk": messages[number]["headers"]["id"]}

    def run(number, details):
        return worker.deliver(from_json(messages[number])).state

    orders = set()
    for race in race_at_every_point(processes, "cancel_order", prepare, run):
        cancelled = race.process_result
        orders.add((race.rival_first, cancelled))
        if cancelled:
            assert_never_charged(race.number, State.CANCELLED)
        else:
            assert_charged_once(race.number)
    assert orders >= {(True, False), (False, True), (True, True)}


@pytest.mark.live
@pytest.mark.parametrize("undo", [True, False], ids=["rolls-back", "commits"])
def test_a_call_that_meets_the_same_call_in_an_open_transaction_is_made_whether_that_commits_or_not(
    processes, worker, undo
):
    def prepare(number):
        Order.objects.create(number=number, amount=1)
        return {"number": number, "undo": undo}

    def enqueue(number, details):
        return scenario_steps.enqueue(number, undo=False)

    orders = set()
    for race in race_at_every_point(processes, "enqueue", prepare, enqueue):
        orders.add(race.rival_first)
        row = operation(race.number)
        assert row is not None, f"the call is lost: {race}"
        assert str(row.pk) == race.rival_result
        assert race.process_result == ("" if undo else str(row.pk))
        drain(worker)
        assert_charged_once(race.number)
    assert orders == {True, False}


@pytest.mark.live
def test_a_message_that_comes_before_the_enqueuing_transaction_has_ended_harms_nothing(processes, worker):
    def prepare(number):
        return {"number": number}

    def early(number, details):
        worker.app.send_task(tasks.charge.name, (number,))
        deliver(worker, [to_json(worker.take_one())])

    for race in race_at_every_point(processes, "place_order", prepare, early):
        drain(worker)
        assert operation(race.number).state == State.SUCCEEDED
        assert effects("charge", race.number) == 1
