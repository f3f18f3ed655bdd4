"""The watch over statements that outlive their transaction sees them."""

import pytest
from django.db import connection

from django_task_safety.ledger import statements
from tests.support.sessions import outlives

SQL = {"postgresql": "SET lock_timeout = '1s'", "mysql": "SET SESSION innodb_lock_wait_timeout = 1"}


@pytest.mark.parametrize(
    "sql",
    [
        "SET lock_timeout = '1s'",
        "set session innodb_lock_wait_timeout = 1",
        "SET @mine = %s",
        "SELECT set_config('lock_timeout', '1s', false)",
        "SELECT pg_advisory_lock(1)",
        "SELECT 1 WHERE pg_try_advisory_lock(1)",
        "SELECT GET_LOCK(%s, %s)",
        "SELECT @mine := 1",
        "DECLARE found CURSOR WITH HOLD FOR SELECT 1",
        "PREPARE found AS SELECT 1",
        "LISTEN news",
        "LOCK TABLES t WRITE",
        "CREATE TEMPORARY TABLE t (id int)",
        "PRAGMA foreign_keys = OFF",
    ],
)
def test_what_outlives_its_transaction(sql):
    assert outlives(f"\n  {sql}")


@pytest.mark.parametrize(
    "sql",
    [
        "SET LOCAL lock_timeout = '1s'",
        "SET STATEMENT innodb_lock_wait_timeout=0 FOR INSERT INTO t VALUES (1)",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SELECT set_config(%s, %s, true)",
        "UPDATE t SET a = 1 RETURNING set_config('synchronous_commit', CASE WHEN b THEN 'off' END, TRUE)",
        "SELECT pg_advisory_xact_lock(1)",
        "PRAGMA table_info(t)",
        "UPDATE t SET lock = 1",
    ],
)
def test_what_ends_with_its_transaction(sql):
    assert not outlives(sql)


@pytest.mark.django_db(transaction=True)
class TestTheWatch:
    def test_it_finds_what_the_package_sends(self, session_watch):
        sql = SQL.get(connection.vendor, "PRAGMA case_sensitive_like = OFF")
        statements.execute(connection, sql, [])
        connection.close()
        assert session_watch.take() == [sql]

    def test_it_leaves_alone_what_others_send(self, session_watch):
        with connection.cursor() as cursor:
            cursor.execute(SQL.get(connection.vendor, "PRAGMA case_sensitive_like = OFF"))
        connection.close()
        assert session_watch.take() == []

    def test_it_forgets_what_is_taken_back(self, session_watch):
        if connection.vendor != "mysql":
            pytest.skip("variables and named locks of the session are MariaDB's and MySQL's")
        for sql in ("SET @mine = 1", "SET @mine = NULL", "SELECT GET_LOCK('a', 0)", "SELECT RELEASE_LOCK('a')"):
            statements.execute(connection, sql, [])
        assert session_watch.take() == []
