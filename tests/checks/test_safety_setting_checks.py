"""The checks of TASK_SAFETY, and of the project's settings beside it."""

from datetime import timedelta

import pytest
from django.db import connection, connections
from django.urls import path

from django_task_safety.checks import requests, safety_settings
from django_task_safety.middleware import TaskSafetyMiddleware
from tests.support.ids import label

OURS = "django_task_safety.middleware.TaskSafetyMiddleware"
DJANGOS = "django.contrib.auth.middleware.AuthenticationMiddleware"
OTHER = "django.middleware.common.CommonMiddleware"


class Derived(TaskSafetyMiddleware):
    """A project's own."""


def nothing() -> None: ...


def logs_in(user, password, access_token="", author="") -> None: ...


@pytest.mark.parametrize(
    ("middleware", "fires"),
    [
        ([OURS, DJANGOS], True),
        ([OTHER, f"{__name__}.Derived", DJANGOS], True),
        ([DJANGOS, OURS], False),
        ([DJANGOS, OTHER, f"{__name__}.Derived"], False),
        ([DJANGOS], False),
        ([], False),
    ],
    ids=label,
)
def test_middleware_that_comes_too_early_to_find_a_user_is_warned_of(project, settings, middleware, fires):
    settings.MIDDLEWARE = middleware
    assert project.messages(requests.check_order).keys() == ({"W012"} if fires else set())
    assert project.unknown(requests.check_order) == {}


def test_where_another_middleware_may_set_the_user_nothing_is_said_of_the_order(project, settings):
    settings.MIDDLEWARE = [OURS, OTHER]
    assert project.messages(requests.check_order) == {}
    assert "request.user" in project.unknown(requests.check_order)["W012"]


def test_urls_of_ones_own_operations_without_the_middleware_are_warned_of(project, settings):
    settings.ROOT_URLCONF = type("Urlconf", (), {"urlpatterns": []})
    assert project.messages(requests.check_presence) == {}

    class Urls:
        app_name = "task_safety"
        urlpatterns = [path("", lambda request: None, name="mine")]

    settings.ROOT_URLCONF = type(
        "Urlconf", (), {"urlpatterns": [path("o/", (Urls.urlpatterns, "task_safety", "task_safety"))]}
    )
    assert project.messages(requests.check_presence).keys() == {"W013"}
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, OURS]
    assert project.messages(requests.check_presence) == {}


def allows(request, operation) -> bool: ...


async def allows_later(request, operation) -> bool: ...


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("shop.rules.may_see", "No module named 'shop'"),
        (f"{__name__}.refuses", "does not define a"),
        (f"{__name__}.OURS", "cannot be called"),
        (f"{__name__}.allows_later", "async"),
        (f"{__name__}.allows", None),
        (None, None),
    ],
)
def test_a_rule_that_cannot_be_asked_is_an_error(project, settings, path, why):
    settings.TASK_SAFETY = {"STATUS_PERMISSION": path}
    found = project.messages(safety_settings.check_permission)
    assert found.keys() == ({"E012"} if why else set())
    assert why is None or why in found["E012"]


@pytest.mark.parametrize(
    ("given", "fires"),
    [
        ({}, False),
        ({"SWEEP_INTERVAL": 31}, True),
        ({"SWEEP_INTERVAL": 30}, False),
        ({"SWEEP_INTERVAL": 5, "REPUBLISH_AFTER": 4}, True),
        ({"SWEEP_INTERVAL": 600, "KEEPER": False}, False),
    ],
    ids=label,
)
def test_sweeps_that_come_after_what_they_are_for_are_warned_of(project, settings, given, fires):
    settings.TASK_SAFETY = given
    assert project.messages(safety_settings.check_sweeps).keys() == ({"W014"} if fires else set())


def test_nobody_knows_here_who_sweeps_without_a_keeper(project, settings):
    assert project.found(safety_settings.check_keeper) == []
    settings.TASK_SAFETY = {"KEEPER": False}
    assert project.found(safety_settings.check_keeper) == []  # there is nothing to be swept
    project.safe(nothing)
    assert "sweep" in project.unknown(safety_settings.check_keeper)["W015"]


def test_names_of_ones_own_that_leave_out_secrets_are_warned_of(project, settings):
    project.safe(logs_in)
    assert project.messages(safety_settings.check_redacted) == {}
    settings.TASK_SAFETY = {"REDACT": ["iban"]}
    found = project.messages(safety_settings.check_redacted)["W016"]
    assert "parameters logs_in(access_token), logs_in(password):" in found
    settings.TASK_SAFETY = {"REDACT": ["password", "access_token"]}
    assert project.messages(safety_settings.check_redacted) == {}
    settings.TASK_SAFETY = {"REDACT": ["password"]}
    project.safe(logs_in, redact=["access_token"])
    assert project.messages(safety_settings.check_redacted) == {}


def test_a_result_backend_that_keeps_what_is_hidden_elsewhere_is_warned_of(project):
    project.safe(logs_in)
    project.safe(nothing)
    project.app.conf.update(result_backend="redis://")
    assert project.messages(safety_settings.check_extended_results) == {}
    project.app.conf.result_extended = True
    assert "Task logs_in:" in project.messages(safety_settings.check_extended_results)["W017"]
    project.safe(logs_in, ignore_result=True)
    assert project.messages(safety_settings.check_extended_results) == {}


@pytest.mark.parametrize(
    ("use_tz", "vendor", "zone", "fires"),
    [
        (False, "mysql", "Europe/Berlin", True),
        (False, "sqlite", "America/Santiago", True),
        (False, "mysql", "Asia/Tokyo", False),
        (False, "mysql", "UTC", False),
        (False, "postgresql", "Europe/Berlin", False),
        (True, "mysql", "Europe/Berlin", False),
    ],
)
def test_local_times_that_exist_twice_are_warned_of(db, project, settings, monkeypatch, use_tz, vendor, zone, fires):
    settings.USE_TZ = use_tz
    settings.TIME_ZONE = zone
    monkeypatch.setattr(type(connections["default"]), "vendor", vendor)
    monkeypatch.setitem(connection.settings_dict, "TIME_ZONE", None)
    assert project.messages(safety_settings.check_time_zone).keys() == ({"W018"} if fires else set())


@pytest.mark.parametrize(
    ("retention", "setting", "fires"),
    [
        (None, timedelta(days=1), True),
        (3600, None, True),
        (timedelta(days=8), timedelta(days=1), False),
        (None, None, False),
    ],
    ids=label,
)
def test_a_success_that_is_forgotten_within_its_period_is_warned_of(project, settings, retention, setting, fires):
    settings.TASK_SAFETY = {"RETENTION": setting}
    project.idempotent(nothing, period=timedelta(days=7), retention=retention)
    assert project.messages(safety_settings.check_retention).keys() == ({"W019"} if fires else set())
