"""What a worker does with its connection between two safe tasks, where ``CONN_MAX_AGE`` says that it may last."""

import contextlib
import os
import warnings

import pytest
from celery import shared_task, signals
from django.db import Error, OperationalError, connection, connections, transaction

from django_task_safety import safe_task
from django_task_safety.ledger import worker_id
from django_task_safety.models import Operation
from django_task_safety.worker import connection as kept
from tests.support.delivering import elsewhere
from tests.support.workers import until

pytestmark = pytest.mark.skipif("config.getoption('db') == 'sqlite'", reason="SQLite's connections are not kept")

#: The server's numbers of the connections that tasks had.
SEEN: list[int] = []
NUMBER = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT CONNECTION_ID()"}
READ_ONLY = {
    "postgresql": "SET default_transaction_read_only = on",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
}
END = {"postgresql": "SELECT pg_terminate_backend(%s)", "mysql": "KILL %s"}


def ask(sql: str, *params: object) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql, params or None)
        return cursor.fetchone()[0] if cursor.description else 0


def number() -> int:
    return ask(NUMBER[connection.vendor])


@safe_task(max_retries=0)
def look(raises: bool = False) -> None:
    SEEN.append(number())
    if raises:
        raise ValueError


@safe_task(atomic=False)
def leaves_a_transaction() -> None:
    SEEN.append(number())
    transaction.set_autocommit(False)


@shared_task
def plain_look() -> None:
    SEEN.append(number())


@shared_task
def calls_a_safe_one() -> None:
    with transaction.atomic():
        SEEN.append(number())
        look.apply()


@pytest.fixture
def max_age(worker, monkeypatch):
    """Set ``CONN_MAX_AGE``, in a worker that closes its connections as Celery's do."""
    SEEN.clear()
    monkeypatch.setattr(worker_id, "_worker", "this one")
    signals.task_prerun.connect(close_all)
    signals.task_postrun.connect(close_all)

    def set_(age):
        monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", age)
        connection.close()

    yield set_
    signals.task_prerun.disconnect(close_all)
    signals.task_postrun.disconnect(close_all)
    kept.close()
    connection.close()


def close_all(sender, **kwargs: object) -> None:
    """As workers of Celery 5.7 do; those of 5.5 close what is too old."""
    if not sender.request.is_eager:
        connections.close_all()


def run(worker, *calls) -> list[str]:
    for call in calls:
        call.delay()
    return [delivery.state for delivery in worker.drain()]


@pytest.mark.parametrize("age", [None, 600])
def test_safe_tasks_share_a_connection_for_as_long_as_it_may_live(worker, max_age, age):
    max_age(age)
    assert run(worker, look, look, look) == ["SUCCESS"] * 3
    assert len(set(SEEN)) == 1


@pytest.mark.parametrize(("task", "age"), [(look, 0), (look, 1e-9), (plain_look, 600), (plain_look, 0)])
def test_plain_tasks_and_safe_ones_without_conn_max_age_have_a_connection_each(worker, max_age, task, age):
    max_age(age)
    run(worker, task, task, task)
    assert len(set(SEEN)) == 3


def test_outside_a_worker_no_connection_is_kept(worker, max_age, monkeypatch):
    max_age(600)
    monkeypatch.setattr(worker_id, "_worker", "")
    run(worker, look, look)
    assert len(set(SEEN)) == 2


def test_a_plain_task_between_safe_ones_has_a_connection_of_its_own(worker, max_age):
    max_age(600)
    run(worker, look, plain_look, look)
    assert SEEN[0] == SEEN[2] != SEEN[1]


def test_the_connection_of_a_task_that_failed_is_kept(worker, max_age):
    max_age(600)
    look.delay(raises=True)
    run(worker, look)
    assert len(SEEN) == 2
    assert len(set(SEEN)) == 1


def test_a_connection_that_a_body_left_in_a_transaction_is_not_kept(worker, max_age):
    max_age(600)
    run(worker, leaves_a_transaction, look)
    assert len(set(SEEN)) == 2


def test_a_safe_task_inside_a_plain_task_s_transaction_stays_on_its_connection(worker, max_age):
    max_age(600)
    assert run(worker, look, calls_a_safe_one) == ["SUCCESS"] * 2
    first, outer, inner = SEEN
    assert outer == inner != first


def test_a_kept_connection_that_died_costs_one_more_try_and_no_wait(worker, max_age):
    max_age(600)
    run(worker, look)
    cut(SEEN[0])
    assert run(worker, look) == ["SUCCESS"]
    assert SEEN[0] != SEEN[1]
    assert set(Operation.objects.values_list("state", "attempt")) == {("succeeded", 1)}


def cut(which: int) -> None:
    """End one of the server's connections."""
    elsewhere(lambda: ask(END[connection.vendor], which))


@pytest.mark.parametrize("send", [look.delay, lambda: look.app.send_task(look.name)], ids=["with a row", "without"])
def test_a_dead_connection_costs_a_claim_one_more_try_though_none_was_kept(worker, send):
    """As workers of Celery 5.5 may leave it open, and a receiver of ``task_prerun`` may open it."""
    SEEN.clear()
    send()
    dead = number()
    cut(dead)
    assert [delivery.state for delivery in worker.drain()] == ["SUCCESS"]
    assert SEEN[0] != dead
    assert set(Operation.objects.values_list("state", "attempt")) == {("succeeded", 1)}


@pytest.mark.parametrize("opens", [contextlib.nullcontext, transaction.atomic], ids=["autocommit", "atomic"])
def test_a_call_on_dead_connections_is_made_twice_at_most(worker, opens):
    tries = []

    def meets_dead_ones() -> None:
        tries.append(number())
        cut(tries[-1])
        with opens():
            number()

    number()
    with pytest.raises(Error):
        kept.retry_if_dead(meets_dead_ones)
    connection.close()
    assert len(set(tries)) == len(tries) == 2


@contextlib.contextmanager
def no_autocommit():
    transaction.set_autocommit(False)
    yield
    connection.close()


@pytest.mark.parametrize("inside", [transaction.atomic, no_autocommit])
def test_a_connection_that_dies_in_a_transaction_is_the_caller_s_error(worker, inside):
    tries = []

    def part() -> None:
        tries.append(number())
        cut(tries[-1])
        number()

    with contextlib.suppress(Error), inside(), pytest.raises(Error):
        kept.retry_if_dead(part)
    connection.close()
    assert len(tries) == 1


@pytest.mark.parametrize("lasting", [True, False])
def test_a_connection_that_works_or_is_new_is_not_tried_twice(worker, max_age, lasting):
    max_age(600)
    if lasting:
        run(worker, look)
    tries = []

    def refused() -> None:
        tries.append(number())
        raise OperationalError("deadlock")

    with pytest.raises(OperationalError, match="deadlock"):
        kept.retry_if_dead(refused)
    assert len(tries) == 1
    assert (tries == SEEN) is lasting


@pytest.mark.parametrize("checked", [True, False])
def test_a_message_is_published_again_while_the_database_server_is_away(worker, max_age, monkeypatch, checked):
    max_age(600)
    monkeypatch.setitem(connection.settings_dict, "CONN_HEALTH_CHECKS", checked)
    run(worker, look)
    look.delay()
    cut(SEEN[0])

    def refused(self) -> None:
        raise OperationalError("the server is away")

    with monkeypatch.context() as patch:
        patch.setattr(type(connections["default"]), "connect", refused)
        assert [worker.deliver(message).state for message in worker.take()] == ["IGNORED"]
    assert [delivery.state for delivery in worker.drain()] == ["SUCCESS"]


@safe_task
def whose() -> str:
    return getattr(connections["default"], "tenant", "")


def test_attributes_set_on_the_connection_by_task_prerun_hold_in_the_task(worker, max_age):
    max_age(600)
    tenants = iter("ab")

    def tell(**kwargs: object) -> None:
        connections["default"].tenant = next(tenants)

    signals.task_prerun.connect(tell)
    operations = [whose.enqueue(), whose.enqueue()]
    try:
        worker.drain()
    finally:
        signals.task_prerun.disconnect(tell)
        del connections["default"].tenant
    assert [Operation.objects.get(pk=operation.pk).result for operation in operations] == ["a", "b"]


@safe_task(atomic=False, max_retries=0)
def begins(raises: bool) -> None:
    ask("BEGIN")
    if raises:
        raise ValueError


@pytest.mark.parametrize("raises", [True, False])
def test_a_transaction_begun_by_hand_does_not_go_on_in_the_next_task(worker, max_age, raises):
    max_age(600)
    begins.delay(raises)
    worker.drain()
    assert run(worker, look, look) == ["SUCCESS"] * 2


@safe_task(atomic=False, max_retries=0)
def loses_its_role() -> None:
    ask(READ_ONLY[connection.vendor])


def test_a_server_that_takes_no_writes_any_more_is_left_at_once_by_an_attempt(worker, max_age):
    max_age(600)
    run(worker, loses_its_role, look)
    assert Operation.objects.get(task=look.name).state == "succeeded"


def test_a_server_that_takes_no_writes_any_more_is_left_at_once_by_a_claim(worker, max_age):
    max_age(600)
    run(worker, look)
    kept.retry_if_dead(loses_its_role.run)
    kept.keep()
    assert run(worker, look) == ["IGNORED", "SUCCESS"]


@safe_task(atomic=False)
def is_cut_off() -> None:
    SEEN.append(number())
    CUT.append(SEEN[-1])


#: Connections that are ended between a task and what follows it.
CUT: list[int] = []


def test_a_connection_that_dies_after_its_last_statement_disturbs_nothing(worker, max_age, caplog):
    max_age(600)

    def cut_off(**kwargs: object) -> None:
        cut(CUT.pop())

    signals.task_success.connect(cut_off, sender=is_cut_off._get_current_object())
    try:
        assert run(worker, is_cut_off) == ["SUCCESS"]
    finally:
        signals.task_success.disconnect(cut_off, sender=is_cut_off._get_current_object())
    assert run(worker, look) == ["SUCCESS"]
    assert len(set(SEEN)) == 2
    assert "Traceback" not in caplog.text


def test_another_database_gets_none_of_this_one_s_connections(worker, max_age, settings):
    max_age(600)
    run(worker, look)
    before = connections["other"].connection
    settings.TASK_SAFETY = {"DATABASE": "other"}
    assert kept.retry_if_dead(lambda: connections["other"].alias) == "other"
    assert connections["other"].connection is before


def test_a_connection_closed_inside_a_transaction_disturbs_no_later_task(worker, max_age):
    max_age(600)
    run(worker, look)
    with contextlib.suppress(ValueError), transaction.atomic():
        number()
        connection.close()
        raise ValueError
    assert connection.closed_in_transaction
    assert run(worker, look) == ["SUCCESS"]
    assert len(set(SEEN)) == 1


def test_the_kept_connection_of_a_process_is_not_its_children_s(worker, max_age, monkeypatch):
    max_age(600)
    run(worker, look)
    ours, another = kept._thread.kept.driver, os.getpid() + 1
    with monkeypatch.context() as patch:
        patch.setattr("os.getpid", lambda: another)
        run(worker, look)
        assert len(set(SEEN)) == 2
        kept.close()
    assert _alive(SEEN[0])
    ours.close()


def test_a_forked_child_connects_anew_and_leaves_its_parent_s_open(worker, max_age):
    max_age(600)
    run(worker, look)
    readable, writable = os.pipe()
    with warnings.catch_warnings(action="ignore"):  # of threads, which the test runner has
        child = os.fork()
    if not child:
        try:
            os.write(writable, str(kept.retry_if_dead(number)).encode())
            kept.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writable)
    with os.fdopen(readable) as said:
        assert int(said.read()) != SEEN[0]
    run(worker, look)
    assert len(set(SEEN)) == 1


def test_connections_of_django_s_pool_are_left_to_it(worker, max_age, monkeypatch):
    max_age(600)
    number()
    with monkeypatch.context() as patch:
        patch.setitem(connection.settings_dict, "OPTIONS", {**connection.settings_dict["OPTIONS"], "pool": True})
        kept.keep()
    assert connection.connection is not None


def test_no_connection_is_kept_in_a_greenlet(worker, max_age, monkeypatch):
    max_age(600)
    monkeypatch.setattr(kept, "detect_environment", lambda: "gevent")
    run(worker, look, look)
    assert len(set(SEEN)) == 2


def test_a_newer_connection_takes_the_kept_one_s_place(worker, max_age):
    """A receiver of ``task_prerun`` that asks the database opens one of its own."""
    max_age(600)
    run(worker, look)
    looks = [1]

    def opens(**kwargs: object) -> None:
        if looks:
            looks.pop()
            number()

    signals.task_prerun.connect(opens)
    try:
        run(worker, look, look)
    finally:
        signals.task_prerun.disconnect(opens)
    assert SEEN[0] != SEEN[1] == SEEN[2]
    assert until(lambda: elsewhere(lambda: not _alive(SEEN[0])))


def test_the_kept_connection_of_a_thread_is_closed_when_the_worker_process_ends(worker, max_age):
    max_age(600)
    run(worker, look)
    signals.worker_process_shutdown.send(sender=None)
    assert until(lambda: elsewhere(lambda: not _alive(SEEN[0])))


def test_the_kept_connection_of_a_thread_is_closed_when_the_thread_ends(worker, max_age):
    max_age(600)

    def work() -> None:
        run(worker, look)
        assert _alive(SEEN[0])

    elsewhere(work)
    assert until(lambda: not _alive(SEEN[0]))


def _alive(which: int) -> bool:
    table = {"postgresql": "pg_stat_activity WHERE pid", "mysql": "information_schema.processlist WHERE id"}
    return bool(ask(f"SELECT COUNT(*) FROM {table[connection.vendor]} = %s", which))


def test_where_celery_keeps_connections_itself_they_are_left_to_it(max_age, worker, monkeypatch):
    max_age(600)
    monkeypatch.setitem(look.app.conf, "CELERY_DB_REUSE_MAX", 10)
    for _ in range(2):
        look.delay()
    worker.drain()
    # Here they are closed after each task; what is kept would not be.
    assert len(set(SEEN)) == 2
