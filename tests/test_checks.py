"""The system checks: each says what it is for, and is silent where all is well."""

import pytest
from django.core import checks
from django.core.management import call_command
from django.db import DatabaseError, connection

from django_task_safety import safe_task
from django_task_safety.checks import check_broker, check_database, check_settings
from tests.celery import app


@safe_task(time_limit=100, soft_time_limit=90)
def hundred_seconds() -> None: ...


@safe_task(time_limit=100, soft_time_limit=90, acks_late=False)
def acknowledged_early() -> None: ...


@pytest.fixture
def broker():
    """Configure the broker, for the checks to look at; nothing connects to it."""
    before = {name: app.conf[name] for name in ("broker_url", "broker_transport_options", "task_time_limit")}

    def configure(url: str, **options: object) -> None:
        app.conf.update(broker_url=url, broker_transport_options=options)

    yield configure
    app.conf.update(before)


def ids(messages: list[checks.CheckMessage]) -> set[str]:
    return {message.id for message in messages}


def test_a_project_in_order_passes(db):
    call_command("check", database=["default"], fail_level="WARNING")
    assert checks.run_checks(databases=["default"]) == []


def test_the_checks_are_registered():
    registered = {check.__name__ for check in checks.registry.registry.get_checks(include_deployment_checks=True)}
    assert {"check_settings", "check_broker", "check_database"} <= registered


def test_a_wrong_setting_is_an_error(settings):
    settings.TASK_SAFETY = {"LEASES": 3}
    (message,) = check_settings()
    assert (message.id, message.level) == ("task_safety.E001", checks.ERROR)
    assert "Did you mean 'LEASE'" in message.msg
    settings.TASK_SAFETY = {"LEASE": 3}
    assert check_settings() == []


def test_an_app_that_is_not_installed_is_an_error(settings):
    settings.INSTALLED_APPS = [name for name in settings.INSTALLED_APPS if name != "django_task_safety"]
    (message,) = check_settings()
    assert message.id == "task_safety.E002"
    assert "INSTALLED_APPS" in message.msg


@pytest.mark.parametrize(
    ("url", "options", "fires"),
    [
        ("redis://", {"visibility_timeout": 100}, True),
        ("redis://", {"visibility_timeout": 60}, True),
        ("rediss://", {"visibility_timeout": 60}, True),
        ("sqs://", {"visibility_timeout": 60}, True),
        ("sentinel://", {"visibility_timeout": 60}, True),
        ("redis://", {"visibility_timeout": 101}, False),
        ("redis://", {}, False),
        ("amqp://", {}, False),
        ("memory://", {}, False),
    ],
    ids=str,
)
def test_a_broker_that_delivers_again_while_a_task_may_still_run_is_a_warning(broker, url, options, fires):
    broker(url, **options)
    found = [message for message in check_broker() if hundred_seconds.name in message.msg]
    assert ids(found) == ({"task_safety.W001"} if fires else set())
    assert all(message.hint and "visibility_timeout" in message.hint for message in found)


def test_a_task_that_is_acknowledged_early_is_not_delivered_again(broker):
    broker("redis://", visibility_timeout=60)
    assert not any(acknowledged_early.name in message.msg for message in check_broker())


def test_a_task_without_a_time_limit_is_a_warning(broker, monkeypatch):
    broker("redis://")
    monkeypatch.setattr(hundred_seconds._get_current_object(), "time_limit", None)
    assert any(f"{hundred_seconds.name} has no time limit" in message.msg for message in check_broker())


def test_the_database_is_checked_only_where_django_checks_databases(db):
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


def test_a_wrong_setting_is_reported_once(db, settings):
    settings.TASK_SAFETY = {"DATABASE": "elsewhere"}
    assert ids(check_settings() + check_database(databases=["default"])) == {"task_safety.E001"}
