"""Where ``CONN_MAX_AGE`` is 0, a connection to PostgreSQL waits for the next safe task, which finds it as new."""

import threading

import pytest
from celery import signals
from django.db import OperationalError, connection, connections, transaction
from django.db.backends.signals import connection_created
from psycopg import IsolationLevel
from psycopg.rows import dict_row

from django_task_safety import safe_task
from django_task_safety.models import Operation
from django_task_safety.worker import kept_connection, reset_session, sessions
from tests.support.delivering import elsewhere
from tests.support.workers import until
from tests.worker.test_kept_connection import (
    SEEN,
    _alive,
    ask,
    begins,
    leaves_a_transaction,
    look,
    max_age,
    number,
    run,
)

__all__ = ["max_age"]

pytestmark = pytest.mark.skipif("config.getoption('db') != 'postgresql'", reason="only PostgreSQL's are reset")


@pytest.fixture
def resetting(max_age, settings):
    settings.TASK_SAFETY = {"CONN_MAX_IDLE": 60}
    max_age(0)


def test_safe_tasks_share_it(worker, resetting):
    assert run(worker, look, look, look) == ["SUCCESS"] * 3
    assert len(set(SEEN)) == 1


#: What a body does to its session, and the question whether that is still so.
TRACES = {
    "a setting": ("SET search_path = elsewhere", "SELECT current_setting('search_path') = 'elsewhere'"),
    "a role": ("SET ROLE pg_monitor", "SELECT current_user = 'pg_monitor'"),
    "an advisory lock": ("SELECT pg_advisory_lock(1)", "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory'"),
    "a temporary table": ("CREATE TEMPORARY TABLE left_over ()", "SELECT to_regclass('left_over') IS NOT NULL"),
    "a prepared statement": ("PREPARE left_over AS SELECT 1", "SELECT count(*) > 0 FROM pg_prepared_statements"),
    "a channel": ("LISTEN left_over", "SELECT count(*) > 0 FROM pg_listening_channels()"),
    "a cursor": (
        "DECLARE left_over CURSOR WITH HOLD FOR SELECT 1",
        "SELECT count(*) > 0 FROM pg_cursors WHERE name = 'left_over'",
    ),
}
FOUND: list[bool] = []


@safe_task
def leaves_a_trace(trace: str) -> None:
    SEEN.append(number())
    # Afterwards, so that it does not disturb the settling and is not rolled back.
    transaction.on_commit(lambda: leave(*TRACES[trace]))


def leave(statement: str, question: str) -> None:
    ask(statement)
    FOUND.append(bool(ask(question)))


@safe_task
def looks_for_it(trace: str) -> None:
    SEEN.append(number())
    FOUND.append(bool(ask(TRACES[trace][1])))


@pytest.mark.parametrize("trace", TRACES)
def test_the_next_task_finds_no_trace_of_the_last_one(worker, resetting, trace):
    FOUND.clear()
    leaves_a_trace.delay(trace)
    looks_for_it.delay(trace)
    worker.drain()
    assert FOUND == [True, False]
    assert len(set(SEEN)) == 1


def test_which_is_gone_as_soon_as_the_task_is(worker, resetting):
    leaves_a_trace.delay("an advisory lock")
    worker.drain()
    assert kept_connection._kept.session is not None
    assert not ask(TRACES["an advisory lock"][1])


def test_django_sets_it_up_as_a_new_one(worker, resetting):
    """What listens to ``connection_created`` configures the session of each task."""

    def configure(**kwargs: object) -> None:
        ask("SET statement_timeout = '4321ms'")

    connection_created.connect(configure)
    SHOWN.clear()
    try:
        run(worker, shows_its_session, shows_its_session)
    finally:
        connection_created.disconnect(configure)
    assert [timeout for timeout, _ in SHOWN] == ["4321ms"] * 2


def test_in_the_project_s_time_zone(worker, resetting, monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "TIME_ZONE", "Asia/Tokyo")
    forget_the_zone()
    SHOWN.clear()
    try:
        run(worker, shows_its_session, shows_its_session)
    finally:
        forget_the_zone()
    assert [zone for _, zone in SHOWN] == ["Asia/Tokyo"] * 2


#: The statement timeout and the time zone that each task found.
SHOWN: list[tuple[object, object]] = []


@safe_task
def shows_its_session() -> None:
    SHOWN.append((ask("SHOW statement_timeout"), ask("SHOW timezone")))


def forget_the_zone() -> None:
    for name in ("timezone", "timezone_name"):
        vars(connections["default"]).pop(name, None)


def test_it_is_closed_when_no_task_comes(worker, max_age, settings):
    settings.TASK_SAFETY = {"CONN_MAX_IDLE": 0.2}
    max_age(0)
    for _ in range(2):
        run(worker, look)
        assert until(lambda: not _alive(SEEN[-1]))
    assert run(worker, look) == ["SUCCESS"]
    assert len(set(SEEN)) == 3
    assert until(lambda: not any(map(_closes, threading.enumerate())))


def _closes(thread: threading.Thread) -> bool:
    return thread.name == "task-safety-idle-connections"


def test_and_when_the_worker_goes(worker, resetting):
    elsewhere(lambda: run(worker, look))
    signals.worker_shutdown.send(sender=None)
    assert until(lambda: not _alive(SEEN[0]))


def test_and_when_it_went_from_task_to_task_for_long_enough(worker, resetting, monkeypatch):
    run(worker, look, look)
    monkeypatch.setattr(reset_session, "MAX_LIFETIME", 0.0)
    run(worker, look, look)
    assert len(set(SEEN)) == 2
    assert SEEN[0] == SEEN[2] != SEEN[3]


def test_one_that_died_costs_one_more_try_and_no_wait(worker, resetting):
    run(worker, look)
    ask("SELECT pg_terminate_backend(%s)", SEEN[0])
    connection.close()
    assert run(worker, look) == ["SUCCESS"]
    assert SEEN[0] != SEEN[1]
    assert set(Operation.objects.values_list("state", "attempt")) == {("succeeded", 1)}


def test_one_that_cannot_be_set_up_is_left_for_a_new_one(worker, resetting):
    run(worker, look)
    look.delay()
    refusals = iter([OperationalError])

    def refuse(**kwargs: object) -> None:
        for refusal in refusals:
            raise refusal

    connection_created.connect(refuse)
    try:
        assert [delivery.state for delivery in worker.drain()] == ["SUCCESS"]
    finally:
        connection_created.disconnect(refuse)
    assert len(set(SEEN)) == 2


def test_a_backend_of_the_project_s_sees_it_close_and_connect(worker, resetting, monkeypatch):
    """One that notes in Django's object what it set, as for tenants, and one that configures what it connects."""
    backend = type(connections["default"])
    seen = []
    real_close, real_new = backend.close, backend.get_new_connection

    def close(self) -> None:
        if self.connection is not None:
            seen.append("close")
        real_close(self)

    def get_new_connection(self, params):
        found = real_new(self, params)
        seen.append("connect")
        return found

    look.delay()
    look.delay()
    monkeypatch.setattr(backend, "close", close)
    monkeypatch.setattr(backend, "get_new_connection", get_new_connection)
    connection.close()
    seen.clear()
    worker.drain()
    assert seen == ["connect", "close"] * 2
    assert len(set(SEEN)) == 1


def test_one_that_a_backend_does_not_take_is_closed(worker, resetting, monkeypatch):
    run(worker, look)
    look.delay()
    backend = type(connections["default"])
    real_module = backend.Database
    monkeypatch.setattr(backend, "get_new_connection", lambda self, params: real_module.connect(**params))
    worker.drain()
    assert len(set(SEEN)) == 2
    assert not _alive(SEEN[0])


def test_one_to_another_place_than_is_wanted_is_closed(worker, resetting, monkeypatch):
    run(worker, look)
    monkeypatch.setitem(connection.settings_dict, "HOST", "localhost")
    run(worker, look)
    assert len(set(SEEN)) == 2
    assert not _alive(SEEN[0])


@safe_task
def changes_the_driver_s(attribute: str) -> None:
    SEEN.append(number())
    driver = connections["default"].connection
    transaction.on_commit(lambda: CHANGES[attribute](driver))


CHANGES = {
    "read_only": lambda driver: setattr(driver, "read_only", True),
    "deferrable": lambda driver: setattr(driver, "deferrable", True),
    "isolation_level": lambda driver: setattr(driver, "isolation_level", IsolationLevel.SERIALIZABLE),
    "row_factory": lambda driver: setattr(driver, "row_factory", dict_row),
    "prepare_threshold": lambda driver: setattr(driver, "prepare_threshold", 5),
    "notices": lambda driver: driver.add_notice_handler(print),
    "notifications": lambda driver: driver.add_notify_handler(print),
}


@pytest.mark.parametrize("attribute", CHANGES)
def test_one_whose_driver_would_remember_something_is_closed(worker, resetting, attribute):
    changes_the_driver_s.delay(attribute)
    worker.drain()
    run(worker, look)
    assert len(set(SEEN)) == 2
    assert not _alive(SEEN[0])


def test_one_of_a_backend_that_is_not_django_s_own_is_left_to_it(worker, resetting, monkeypatch):
    own = type(connections["default"])
    monkeypatch.setattr(connections["default"], "__class__", type("Pooling", (own,), {}))
    run(worker, look, look)
    assert len(set(SEEN)) == 2


def test_one_that_goes_through_pgbouncer_is_left_to_it(worker, resetting, monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)
    run(worker, look, look)
    assert len(set(SEEN)) == 2


def test_those_that_wait_are_not_more_than_the_threads(worker, resetting):
    run(worker, *[look] * 20)
    assert len(sessions._closer._waiting) <= 2


@pytest.mark.parametrize("option", [{"pool": {"min_size": 1}}, {"prepare_threshold": 5}])
def test_what_another_pool_or_the_driver_minds_is_left_to_it(worker, resetting, monkeypatch, option):
    with monkeypatch.context() as patch:
        patch.setitem(connection.settings_dict, "OPTIONS", {**connection.settings_dict["OPTIONS"], **option})
        assert run(worker, look, look) == ["SUCCESS"] * 2
        assert kept_connection._kept.session is None
        connection.close()
        connections["default"].close_pool()


@pytest.mark.parametrize("raises", [True, False])
def test_a_transaction_begun_by_hand_ends_with_its_task(worker, resetting, raises):
    begins.delay(raises)
    worker.drain()
    assert run(worker, look, look) == ["SUCCESS"] * 2


def test_one_left_in_a_transaction_is_closed(worker, resetting):
    run(worker, leaves_a_transaction, look)
    assert len(set(SEEN)) == 2


def test_the_reset_is_no_statement_of_the_project_s(worker, resetting):
    statements = []

    def see(execute, sql, *rest):
        statements.append(sql)
        return execute(sql, *rest)

    with connection.execute_wrapper(see):
        run(worker, look, look)
    assert statements
    assert not [sql for sql in statements if "DISCARD" in sql]
