"""The checks of Celery's settings."""

from datetime import timedelta

import pytest
from celery import Celery
from kombu import Queue

from django_task_safety.checks import celery_settings
from tests.support.ids import label


def nothing() -> None: ...


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("CELERY_TASK_TIME_LIMITS", "CELERY_TASK_TIME_LIMIT"),
        ("CELERY_TASK_ACK_LATE", "CELERY_TASK_ACKS_LATE"),
        ("CELERY_TASK_TIME_LIMIT_OF_REPORTS", None),
        ("CELERY_TASK_TIME_LIMIT", None),
        ("CELERY_ACKS_LATE", None),  # the old name, which Celery reads
        ("TASK_TIME_LIMITS", None),
    ],
)
def test_a_setting_whose_name_is_a_slip_is_a_warning(project, settings, name, near):
    project.app.config_from_object("django.conf:settings", namespace="CELERY")
    setattr(settings, name, 5)
    found = project.messages(celery_settings.check_names)
    assert found.keys() == ({"W027"} if near else set())
    assert not near or f"no setting {name}, and ignores it. Did you mean {near!r}?" in found["W027"]


def test_a_slip_in_what_an_app_was_given_is_a_warning(project):
    project.app.conf.update(task_time_limits=5, my_own=3)
    assert "task_time_limits" in project.messages(celery_settings.check_names)["W027"]


CASES = [
    (celery_settings.check_eager, "W028", {"task_always_eager": True}, {"task_always_eager": False}),
    (
        celery_settings.check_pickle,
        "W029",
        {"accept_content": ["json", "pickle"]},
        {"accept_content": ["json", "yaml"]},
    ),
    (celery_settings.check_pickle, "W029", {"accept_content": ["application/x-python-serialize"]}, {}),
    (celery_settings.check_pickle, "W029", {"result_serializer": "pickle"}, {"result_serializer": "json"}),
    (celery_settings.check_expiry, "W030", {"result_backend": "redis://", "result_expires": None}, {}),
    (
        *(celery_settings.check_expiry, "W030", {"result_backend": "django-db", "result_expires": timedelta(0)}),
        {"result_backend": "django-db", "result_expires": timedelta(days=1)},
    ),
    (
        *(celery_settings.check_expiry, "W030", {"result_backend": "redis://", "result_expires": 0}),
        {"result_backend": "rpc://", "result_expires": None},
    ),
    (
        *(celery_settings.check_expiry, "W030", {"result_backend": "redis://", "result_expires": None}),
        {"result_backend": "redis://", "result_expires": None, "task_ignore_result": True},
    ),
    (celery_settings.check_connection_loss, "W031", {"worker_cancel_long_running_tasks_on_connection_loss": True}, {}),
    (celery_settings.check_start, "W032", {"broker_connection_retry_on_startup": False}, {}),
    (
        *(celery_settings.check_start, "W032"),
        {"broker_connection_retry_on_startup": None, "broker_connection_retry": False},
        {"broker_connection_retry_on_startup": None},
    ),
    (
        *(celery_settings.check_limits, "W034", {"task_soft_time_limit": 60, "task_time_limit": 60}),
        {"task_soft_time_limit": 50, "task_time_limit": 60},
    ),
]


@pytest.mark.parametrize(("check", "number", "wrong", "right"), CASES, ids=label)
def test_a_setting_that_harms_is_a_warning(project, check, number, wrong, right):
    assert project.messages(check) == {}
    project.app.conf.update(right)
    assert project.messages(check) == {}
    project.app.conf.update(dict.fromkeys(right) | wrong)
    assert project.messages(check).keys() == {number}


def test_a_project_with_late_plain_tasks_may_want_them_cancelled_when_the_broker_is_lost(project):
    project.app.conf.worker_cancel_long_running_tasks_on_connection_loss = True
    project.plain(nothing, acks_late=True)
    assert project.messages(celery_settings.check_connection_loss) == {}


@pytest.mark.parametrize(
    ("accepted", "serializer", "fires"),
    [
        (["json"], "yaml", True),
        (["application/json"], "json", False),
        (["json", "yaml"], "yaml", False),
        (["json"], "morse", True),
    ],
)
def test_messages_that_workers_refuse_are_an_error(project, accepted, serializer, fires):
    project.app.conf.accept_content = accepted
    project.safe(nothing, serializer=serializer)
    found = project.messages(celery_settings.check_serializer)
    assert found.keys() == ({"E008"} if fires else set())
    assert not fires or f"Task nothing: messages are written as {serializer!r}" in found["E008"]


def test_a_process_that_does_not_know_the_projects_app_is_warned_of(project, monkeypatch):
    project.safe(nothing)
    assert project.messages(celery_settings.check_app) == {}
    project.app.main = "default"
    assert project.messages(celery_settings.check_app).keys() == {"W033"}
    project.app.namespace = "CELERY"
    assert project.messages(celery_settings.check_app) == {}


def test_celerys_own_app_is_the_one_that_is_taken_for_unknown():
    app = Celery("default", set_as_current=False)
    assert (app.main, app.namespace) == ("default", None)


@pytest.mark.parametrize(
    ("routes", "missing_are_made", "fires"),
    [
        ({"nothing": {"queue": "fats"}}, False, True),
        ({"noth*": "fats"}, False, True),
        ({"nothing": {"queue": "fast"}}, False, False),
        ({}, False, False),
        ({"nothing": {"queue": "fats"}}, True, False),
    ],
    ids=label,
)
def test_a_queue_that_nobody_declares_is_an_error(project, routes, missing_are_made, fires):
    project.app.conf.update(task_queues=[Queue("fast")], task_default_queue="fast")
    project.app.conf.update(task_routes=routes, task_create_missing_queues=missing_are_made)
    project.safe(nothing)
    found = project.messages(celery_settings.check_queues)
    assert found.keys() == ({"E009"} if fires else set())
    assert not fires or "Queue 'fats' missing" in found["E009"]
