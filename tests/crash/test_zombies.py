"""An attempt that goes on after another one took its place may not change anything."""

import pytest
from django.db import connection

from django_task_safety import ledger
from django_task_safety.ledger import schedule
from django_task_safety.models import Operation
from tests.crash import tasks
from tests.crash.counting import State, assert_charged_once, effects, operation
from tests.crash.fault_matrix import race_at_every_point, race_at_point
from tests.crash.messages import drain, from_json, to_json
from tests.testapp.models import Order

#: How attempt 1 ends, and the state and effects that gives it where no other attempt came first.
ENDINGS = {
    "ok": (State.SUCCEEDED, 1, 0),
    "fail": (State.FAILED, 0, 1),
    "retry": (State.SUCCEEDED, 1, 0),
    "ignore": (State.CANCELLED, 1, 0),
    "reject": (State.FAILED, 0, 1),
}


@pytest.fixture
def prepare(worker):
    """Call the task, whose first attempt is the zombie; the second succeeds."""

    def prepare(number, ending="ok"):
        Order.objects.create(number=number, amount=1)
        tasks.charge.apply_async((number,), {"endings": [ending, "ok"]})
        return {"message": to_json(worker.take_one())}

    return prepare


@pytest.fixture
def successor(worker):
    """End the lease of whoever runs it, and deliver the message once more."""

    def take_over(number, details):
        pk = details["message"]["headers"]["id"]
        running = Operation.objects.filter(pk=pk, state=State.RUNNING)
        row = running.first()
        if row is not None:
            running.update(due_at=row.created_at)
        delivery = worker.deliver(from_json(details["message"]))
        return delivery.state, delivery.value

    return take_over


def numbers(number):
    return (effects("charge", number), effects("refund", number))


@pytest.mark.live
@pytest.mark.parametrize("ending", ENDINGS)
def test_an_attempt_whose_lease_ran_out_at_any_point_changes_nothing_after_its_successor(
    processes, worker, prepare, successor, ending
):
    overtaken = 0
    for race in race_at_every_point(processes, "deliver", lambda number: prepare(number, ending), successor):
        drain(worker)
        row = operation(race.number)
        if race.rival_first and race.rival_result == ("SUCCESS", 2):
            overtaken += 1
            assert (row.state, row.result, row.attempt) == (State.SUCCEEDED, 2, 2), race
            assert_charged_once(race.number)
        elif row.attempt > 1:
            assert (row.state, row.result) == (State.SUCCEEDED, row.attempt), race
            assert_charged_once(race.number)
        else:
            state, charges, refunds = ENDINGS[ending]
            assert (row.state, numbers(race.number)) == (state, (charges, refunds)), race
    assert overtaken


def in_its_body():
    """Return the latest point at which a paused attempt keeps nobody from taking over; SQLite has one writer only."""
    return "before BEGIN" if connection.vendor == "sqlite" else "before UPDATE testapp_order"


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_zombie_that_wakes_in_its_body_changes_nothing(processes, worker, prepare, successor, ending):
    race = race_at_point(processes, "deliver", 1, lambda number: prepare(number, ending), successor, in_its_body())
    assert (race.rival_first, race.rival_result) == (True, ("SUCCESS", 2))
    row = operation(1)
    assert (row.state, row.result, row.attempt, row.error) == (State.SUCCEEDED, 2, 2, "")
    assert race.process_result["acknowledged"]
    assert race.process_result["state"] in ("IGNORED", "SUCCESS")
    assert not worker.take(), "the zombie queued another attempt"
    assert_charged_once(1)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_zombie_neither_ends_nor_renews_the_claim_of_its_successor(processes, worker, prepare, ending):
    details = prepare(1, ending)
    processes.pause("deliver", details, in_its_body())
    zombie = operation(1)
    worker.pass_time(61)
    ledger.claim(zombie.pk, "successor", 30.0, None)
    claimed = operation(1)
    assert schedule.renew([zombie.pk], zombie.worker, 3600.0) == 0
    processes.resume()
    left = operation(1)
    for name in ("state", "worker", "token", "attempt", "due_at", "error"):
        assert getattr(left, name) == getattr(claimed, name)
    assert (left.worker, left.state) == ("successor", State.RUNNING)
    assert numbers(1) == (0, 0)
