"""Django's connection pool (``OPTIONS["pool"]``) is the bodies': what runs beside them takes none of it."""

import pytest
from django.db import connection, connections, transaction

from django_task_safety import current_operation, ledger, safe_task
from django_task_safety.ledger import heartbeat, worker_id
from django_task_safety.ledger.own_connections import own_connections
from django_task_safety.models import Operation
from django_task_safety.worker import keeper, recovery, sweeper
from django_task_safety.worker.keeper import Keeper
from tests.support.delivering import elsewhere
from tests.support.workers import until
from tests.testapp.models import Effect

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("config.getoption('db') != 'postgresql'", reason="Django has a pool for PostgreSQL and Oracle"),
]

State = Operation.State
SEEN: list[int] = []


@safe_task(max_retries=0)
def reports() -> None:
    SEEN.append(pool_requests())
    current_operation().report(1, 2, "half")
    current_operation().check_cancelled()
    SEEN.append(pool_requests())
    Effect.objects.create(name="reports")


@safe_task(max_retries=3)
def runs() -> None: ...


def pool_requests() -> int:
    return connection.pool.get_stats().get("requests_num", 0)


@pytest.fixture(autouse=True)
def pool(transactional_db, monkeypatch):
    """A pool of one connection, for which nobody waits long."""
    SEEN.clear()
    pytest.importorskip("psycopg_pool")
    connection.close()
    one = {"min_size": 0, "max_size": 1, "timeout": 1.0}
    monkeypatch.setitem(connections.settings["default"]["OPTIONS"], "pool", one)
    yield
    connection.close()
    connection.close_pool()
    monkeypatch.undo()


@pytest.fixture
def running() -> Operation:
    """An operation that this worker runs; a body holds the pool's only connection."""
    operation = runs.enqueue()
    seen = ledger.claim(operation.pk, worker_id.me(), 60, None)
    assert seen is not None
    assert seen.claimed
    with transaction.atomic():
        yield Operation.objects.get()


def is_renewed(operation: Operation) -> bool:
    return not Operation.objects.filter(pk=operation.pk, due_at=operation.due_at).exists()


def test_a_body_reports_while_it_holds_the_last_connection_of_the_pool(worker):
    reports.delay()
    worker.deliver_one()
    operation = Operation.objects.get()
    assert (operation.state, operation.attempt, operation.error) == (State.SUCCEEDED, 1, "")
    assert operation.progress_message == "half"
    assert Effect.objects.count() == 1


def test_a_report_takes_no_connection_of_the_pool(worker):
    reports.delay()
    worker.deliver_one()
    before, after = SEEN
    assert before == after


def test_leases_are_renewed_while_bodies_hold_the_whole_pool(running):
    assert elsewhere(lambda: heartbeat.renew([running.pk], 30)).ended == ()
    assert is_renewed(running)


def test_the_keeper_renews_and_sweeps_while_bodies_hold_the_whole_pool(running, settings, monkeypatch):
    settings.TASK_SAFETY = {"LEASE": 0.9, "SWEEP_INTERVAL": 0.1}
    swept: list[object] = []
    sweep = sweeper.sweep
    monkeypatch.setattr(sweeper, "sweep", lambda: swept.append(sweep()))
    monkeypatch.setattr(keeper, "running_ids", lambda: [running.pk])
    before = pool_requests()
    tending = Keeper()
    tending.start()
    try:
        until(lambda: len(swept) >= 2)
        until(lambda: is_renewed(running))
    finally:
        tending.stop()
    assert pool_requests() == before


def test_the_keeper_leaves_no_connection_between_its_ticks(running):
    # The server's count of connections: the body's, and this one's look.
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"

    def connected() -> int:
        with connection.cursor() as cursor:
            cursor.execute(count)
            return int(cursor.fetchone()[0])

    before = connected()
    elsewhere(lambda: heartbeat.renew([running.pk], 30))
    assert until(lambda: connected() == before)


def test_the_pools_parent_opens_no_pool(running):
    before = pool_requests()

    @own_connections()
    def lose() -> recovery.LossOutcome:
        return recovery.worker_lost(running.pk, RuntimeError("killed"))

    assert elsewhere(lose) is recovery.LossOutcome.QUEUED_AGAIN
    assert pool_requests() == before


def test_a_block_on_connections_of_its_own_leaves_the_threads_own_ones_as_they_were():
    mine = connections["default"]
    with own_connections():
        assert connections["default"] is not mine
        assert connections["default"].pool is None
        assert connections["default"].settings_dict["NAME"] == mine.settings_dict["NAME"]
        Effect.objects.create(name="own")
        inside = connections["default"]
    assert connections["default"] is mine
    assert inside.connection is None
    assert mine.pool is not None
    assert Effect.objects.get().name == "own"


def test_a_block_on_connections_of_its_own_goes_on_in_an_open_transaction():
    with transaction.atomic():
        Effect.objects.create(name="mine")
        with own_connections():
            assert Effect.objects.get().name == "mine"
        assert Effect.objects.get().name == "mine"
