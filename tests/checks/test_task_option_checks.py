"""The checks of tasks' options."""

from datetime import timedelta

import pytest

from django_task_safety.checks import task_options
from tests.support.ids import label


def nothing() -> None: ...


@pytest.mark.parametrize(
    ("options", "setting", "fires"),
    [
        ({"time_limit": None}, None, True),
        ({"time_limit": None}, 60, False),
        ({}, None, False),
        ({"time_limit": 5}, None, False),
    ],
    ids=label,
)
def test_a_safe_task_that_may_hang_for_ever_is_warned_of(project, options, setting, fires):
    project.app.conf.task_time_limit = setting
    project.safe(nothing, soft_time_limit=None, **options)
    assert project.messages(task_options.check_time_limits).keys() == ({"W041"} if fires else set())


def test_a_setting_without_time_limits_is_warned_of(project, settings):
    settings.TASK_SAFETY = {"TIME_LIMIT": None, "SOFT_TIME_LIMIT": None}
    project.safe(nothing)
    assert "Task nothing" in project.messages(task_options.check_time_limits)["W041"]


@pytest.mark.parametrize(("most", "fires"), [(None, True), (0, False), (5, False)])
def test_a_safe_task_that_is_tried_for_ever_is_warned_of(project, most, fires):
    project.safe(nothing, max_retries=most)
    assert project.messages(task_options.check_attempts).keys() == ({"W042"} if fires else set())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"task_time_limit": 60}, "Did you mean 'time_limit'?"),
        ({"max_retry": 3}, "Did you mean 'max_retries'?"),
        ({"rate_limits": "1/s"}, "Did you mean 'rate_limit'?"),
        ({"on_delete": "protect"}, "ignores."),
        ({"period": timedelta(1)}, "ignores."),
        ({"team": "billing"}, None),
        ({"time_limit": 60, "autoretry_for": (OSError,), "retry_backoff": True, "queue_name": "x"}, None),
    ],
    ids=label,
)
def test_an_option_that_celery_ignores_is_a_warning(project, options, said):
    project.plain(nothing, **options)
    found = project.messages(task_options.check_names)
    assert found.keys() == ({"W043"} if said else set())
    assert said is None or said in found["W043"]


def test_an_attribute_of_a_projects_own_base_class_is_no_slip(project):
    base = type("Base", (project.app.Task,), {"max_retry": 1, "abstract": True})
    project.plain(nothing, base=base, max_retry=3)
    assert project.messages(task_options.check_names) == {}


@pytest.mark.parametrize(
    ("options", "number"),
    [
        ({"reject_on_worker_lost": True}, "W044"),
        ({"reject_on_worker_lost": True, "acks_late": True}, "W045"),
        ({"acks_late": True}, None),
        ({}, None),
    ],
    ids=label,
)
def test_what_a_plain_task_says_of_lost_workers_has_an_effect_and_an_end(project, options, number):
    project.plain(nothing, **options)
    assert project.messages(task_options.check_lost_workers).keys() == ({number} if number else set())


@pytest.mark.parametrize(
    ("options", "number"),
    [
        ({"retry_backoff": True}, "W046"),
        ({"retry_jitter": False}, "W046"),
        ({"autoretry_for": (OSError,), "retry_backoff": True}, None),
        ({"autoretry_for": (OSError,), "max_retries": None}, "W047"),
        ({"autoretry_for": (OSError,), "retry_kwargs": {"max_retries": None}}, "W047"),
        ({"autoretry_for": (OSError,), "max_retries": None, "retry_kwargs": {"max_retries": 3}}, None),
        ({"max_retries": None}, None),  # it may say itself when to stop
        ({}, None),
    ],
    ids=label,
)
def test_what_a_plain_task_says_of_its_retries_has_an_effect_and_an_end(project, options, number):
    project.plain(nothing, **options)
    found = {
        **project.messages(task_options.check_retry_options),
        **project.messages(task_options.check_endless_retries),
    }
    assert found.keys() == ({number} if number else set())


def test_safe_tasks_back_off_without_being_told_for_what(project):
    project.safe(nothing, retry_backoff=4)
    assert project.messages(task_options.check_retry_options) == {}
