"""The checks of the operations' database, and of what else the project has."""

import enum

import pytest
from django.core import checks
from django.db import DatabaseError, connection, connections

from django_task_safety.checks import databases
from django_task_safety.checks.databases import check_database
from django_task_safety.checks.installation import check_settings
from tests.support.ids import label


class Level(enum.IntEnum):
    """As PostgreSQL's drivers have it."""

    READ_COMMITTED = 2
    REPEATABLE_READ = 3
    SERIALIZABLE = 4


@pytest.fixture
def database(monkeypatch):
    """Return a function that describes the operations' database; nothing connects to it."""

    def describe(vendor: str, **settings: object) -> None:
        monkeypatch.setattr(type(connections["default"]), "vendor", vendor)
        described = {"OPTIONS": {}, "NAME": "shop", "CONN_MAX_AGE": 600, "PORT": "", **settings}
        for name, value in described.items():
            monkeypatch.setitem(connection.settings_dict, name, value)

    return describe


def ids(messages: list[checks.CheckMessage]) -> set[str]:
    return {message.id for message in messages}


def test_the_operations_database_is_checked_only_where_django_checks_databases(db):
    assert check_database() == []
    assert check_database(databases=["other"]) == []
    assert check_database(databases=["default"]) == []


def test_too_old_a_database_is_an_error(db, monkeypatch):
    monkeypatch.setattr(connection, "get_database_version", lambda: (1, 0))
    (message,) = check_database(databases=["default"])
    assert (message.id, message.level) == ("task_safety.E003", checks.ERROR)
    assert "1.0" in message.msg


def test_a_database_that_does_not_answer_is_not_judged(db, monkeypatch):
    def refuse() -> None:
        raise DatabaseError("down")

    monkeypatch.setattr(connection, "get_database_version", refuse)
    assert check_database(databases=["default"]) == []


@pytest.mark.parametrize(
    ("level", "fires"),
    [
        (Level.REPEATABLE_READ, True),
        (Level.SERIALIZABLE, True),
        ("repeatable read", True),
        ("serializable", True),
        (Level.READ_COMMITTED, False),
        ("read committed", False),
    ],
    ids=label,
)
def test_an_isolation_level_at_which_long_tasks_cannot_commit_is_a_warning(db, monkeypatch, level, fires):
    monkeypatch.setattr(connection, "isolation_level", level, raising=False)
    assert ids(check_database(databases=["default"])) == ({"task_safety.W002"} if fires else set())


@pytest.mark.parametrize(("level", "found"), [("READ-COMMITTED", set()), ("REPEATABLE-READ", {"task_safety.W002"})])
def test_a_server_is_asked_for_the_isolation_level_that_the_settings_leave_to_it(db, monkeypatch, level, found):
    monkeypatch.setattr(connection, "isolation_level", None, raising=False)
    if connection.vendor == "mysql":
        assert databases._of_the_server(connection) in {"READ-COMMITTED", "REPEATABLE-READ"}
    else:
        assert check_database(databases=["default"]) == []
        monkeypatch.setattr(type(connections["default"]), "vendor", "mysql")
        monkeypatch.setattr(connection, "get_database_version", lambda: (8, 4))
        monkeypatch.setattr(type(connections["default"]), "mysql_is_mariadb", False, raising=False)
    monkeypatch.setattr(databases, "_of_the_server", lambda connection: level)
    assert ids(check_database(databases=["default"])) == found


def test_a_wrong_setting_is_reported_by_one_check_only(db, settings):
    settings.TASK_SAFETY = {"DATABASE": "elsewhere"}
    assert ids(check_settings() + check_database(databases=["default"])) == {"task_safety.E001"}


def test_a_schema_for_each_tenant_is_an_error(project, monkeypatch):
    assert project.messages(databases.check_schemas) == {}
    # As django-tenants' connections have it.
    monkeypatch.setattr(connection, "set_schema", lambda name: None, raising=False)
    assert "'default' has a schema for each tenant" in project.messages(databases.check_schemas)["E007"]
    monkeypatch.undo()
    # django-pgschemas' follow what is active elsewhere.
    monkeypatch.setattr(type(connections["default"]), "__module__", "django_pgschemas.postgresql.base")
    assert project.messages(databases.check_schemas).keys() == {"E007"}


@pytest.mark.parametrize(
    ("vendor", "age", "options", "fires"),
    [
        ("postgresql", 0, {}, True),
        ("mysql", 0, {}, True),
        ("postgresql", 600, {}, False),
        ("mysql", None, {}, False),
        ("postgresql", 0, {"pool": True}, False),
        ("sqlite", 0, {}, False),
    ],
)
def test_a_connection_for_each_task_is_a_warning(project, database, vendor, age, options, fires):
    database(vendor, CONN_MAX_AGE=age, OPTIONS=options)
    assert project.messages(databases.check_connections).keys() == ({"W010"} if fires else set())


def test_the_connection_to_look_at_is_the_operations(project, settings, monkeypatch):
    for alias, age in (("default", 0), ("other", 600)):
        monkeypatch.setattr(type(connections[alias]), "vendor", "postgresql")
        monkeypatch.setitem(connections[alias].settings_dict, "CONN_MAX_AGE", age)
    assert "'default'" in project.messages(databases.check_connections)["W010"]
    settings.TASK_SAFETY = {"DATABASE": "other"}
    assert project.messages(databases.check_connections) == {}


class Elsewhere:
    """Keeps our tables out of the operations' database."""

    def allow_migrate(self, alias: str, app_label: str, **hints: object) -> bool | None:
        return alias == "other" if app_label == "django_task_safety" else None


def test_a_router_that_keeps_the_table_out_of_its_database_is_an_error(project, settings):
    assert project.messages(databases.check_router) == {}
    settings.DATABASE_ROUTERS = [Elsewhere()]
    assert "'default'" in project.messages(databases.check_router)["E010"]
    settings.TASK_SAFETY = {"DATABASE": "other"}
    assert project.messages(databases.check_router) == {}


def test_a_database_that_commits_nothing_by_itself_is_an_error(project, monkeypatch):
    assert project.messages(databases.check_autocommit) == {}
    monkeypatch.setitem(connection.settings_dict, "AUTOCOMMIT", False)
    assert project.messages(databases.check_autocommit).keys() == {"E011"}


@pytest.mark.parametrize(
    ("vendor", "name", "options", "found"),
    [
        ("sqlite", "shop.sqlite3", {}, {"W035", "W036"}),
        ("sqlite", "shop.sqlite3", {"transaction_mode": "deferred"}, {"W035", "W036"}),
        ("sqlite", "shop.sqlite3", {"transaction_mode": "IMMEDIATE", "timeout": 20}, {"W036"}),
        (
            *("sqlite", "shop.sqlite3"),
            {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": "PRAGMA journal_mode=WAL;"},
            set(),
        ),
        ("sqlite", "file:shop?mode=memory", {}, set()),
        ("postgresql", "shop", {}, set()),
    ],
    ids=label,
)
def test_sqlite_in_which_transactions_fail_instead_of_waiting_is_a_warning(
    project, database, vendor, name, options, found
):
    database(vendor, NAME=name, OPTIONS=options)
    said = {*project.messages(databases.check_sqlite), *project.messages(databases.check_sqlite_in_production)}
    assert said == found


@pytest.mark.parametrize(("timeout", "fires"), [(None, False), (10, False), (20, True), ("30", True)])
def test_a_connection_that_comes_too_late_for_the_lease_is_a_warning(project, database, timeout, fires):
    database("postgresql", OPTIONS={} if timeout is None else {"connect_timeout": timeout})
    assert project.messages(databases.check_connect_timeout).keys() == ({"W037"} if fires else set())


def test_requests_whose_transaction_is_on_another_database_are_warned_of(project, monkeypatch):
    assert project.messages(databases.check_atomic_requests) == {}
    monkeypatch.setitem(connections["other"].settings_dict, "ATOMIC_REQUESTS", True)
    assert "'other', but not for 'default'" in project.messages(databases.check_atomic_requests)["W038"]
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    assert project.messages(databases.check_atomic_requests) == {}


def test_a_port_that_is_a_poolers_is_asked_about(project, database):
    database("postgresql", PORT=6432)
    assert "pool_mode" in project.unknown(databases.check_pooler)["W039"]
    database("postgresql", PORT="6432", DISABLE_SERVER_SIDE_CURSORS=True)
    assert project.found(databases.check_pooler) == []
    database("postgresql", PORT="5432", DISABLE_SERVER_SIDE_CURSORS=False)
    assert project.found(databases.check_pooler) == []


@pytest.mark.parametrize(
    ("vendor", "driver", "pool", "fires"),
    [
        ("sqlite", "sqlite3", "gevent", True),
        ("mysql", "MySQLdb", "eventlet", True),
        ("mysql", "pymysql", "gevent", False),
        ("postgresql", "psycopg", "gevent", False),
        ("sqlite", "sqlite3", "prefork", False),
    ],
)
def test_a_driver_that_stops_all_greenlets_is_a_warning(project, database, monkeypatch, vendor, driver, pool, fires):
    database(vendor)
    monkeypatch.setattr(type(connections["default"]), "Database", type(driver, (), {}))
    project.app.conf.worker_pool = pool
    found = project.messages(databases.check_greenlets)
    assert found.keys() == ({"W040"} if fires else set())
    assert not fires or driver in found["W040"]
