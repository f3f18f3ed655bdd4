"""The checks of beat's schedule."""

import sys
import types
from datetime import timedelta

import pytest
from celery.schedules import BaseSchedule, crontab

from django_task_safety.checks import schedule
from tests.support.ids import label

HOUR = timedelta(hours=1)


class Sunset(BaseSchedule):
    """Of which nobody knows when the next one is."""


def close_books() -> None: ...


def scheduled(project, when=HOUR, task="close_books"):
    project.app.conf.beat_schedule = {"books": {"task": task, "schedule": when}}


@pytest.mark.parametrize(
    ("options", "number"),
    [
        ({}, "W050"),
        ({"rerun": "never"}, "W050"),
        ({"rerun": "always"}, "W049"),
        ({"period": HOUR}, None),
        ({"period": HOUR, "rerun": "always"}, None),
    ],
    ids=label,
)
def test_an_idempotent_task_that_is_scheduled_has_a_period(project, options, number):
    project.idempotent(close_books, **options)
    scheduled(project)
    assert project.messages(schedule.check_periods).keys() == ({number} if number else set())


def test_a_safe_task_that_is_scheduled_may_run_twice(project):
    project.safe(close_books)
    assert project.messages(schedule.check_periods) == {}
    scheduled(project)
    assert "Task close_books: in beat_schedule" in project.messages(schedule.check_periods)["W049"]


def test_a_key_that_may_tell_the_days_apart_is_not_judged(project):
    project.idempotent(close_books, key=lambda: "today")
    scheduled(project)
    assert project.messages(schedule.check_periods) == {}
    assert project.unknown(schedule.check_periods).keys() == {"W049", "W050"}


def test_plain_tasks_in_the_schedule_are_left_alone(project):
    project.plain(close_books)
    scheduled(project, 5)
    for check in (schedule.check_periods, schedule.check_intervals, schedule.check_tasks):
        assert project.found(check) == []


@pytest.mark.parametrize(
    ("when", "period", "fires"),
    [
        (600, HOUR, True),
        (timedelta(minutes=59), HOUR, True),
        (HOUR, HOUR, False),
        (timedelta(hours=2), HOUR, False),
        (crontab(minute="*/15"), HOUR, True),
        (crontab(minute=0, hour="8,20"), timedelta(hours=13), True),
        (crontab(minute=0, hour="8,20"), timedelta(hours=12), False),
        (crontab(minute=0, hour=4), timedelta(days=1), False),
        (crontab(minute=0, hour=4), timedelta(days=2), True),
        (crontab(minute=0, hour=4, day_of_week="mon"), timedelta(days=7), False),
        (Sunset(), timedelta(days=9), False),
    ],
    ids=label,
)
def test_a_period_that_swallows_runs_of_the_schedule_is_warned_of(project, when, period, fires):
    project.idempotent(close_books, period=period)
    scheduled(project, when)
    assert project.messages(schedule.check_intervals).keys() == ({"W051"} if fires else set())


def test_a_task_that_is_scheduled_and_that_nobody_has_is_warned_of(project, monkeypatch):
    project.plain(close_books)
    scheduled(project, task="close_book")
    assert "no task has that name. Did you mean 'close_books'?" in project.messages(schedule.check_tasks)["W052"]
    monkeypatch.setitem(sys.modules, "books.tasks", types.ModuleType("books.tasks"))
    scheduled(project, task="books.tasks.gone")
    assert "'books.tasks.gone' ('books')" in project.messages(schedule.check_tasks)["W052"]


def test_a_task_that_only_other_workers_may_have_is_not_judged(project):
    scheduled(project, task="reports.tasks.daily")
    assert project.messages(schedule.check_tasks) == {}
    assert "'reports.tasks.daily'" in project.unknown(schedule.check_tasks)["W052"]


@pytest.mark.parametrize(
    ("when", "fires"),
    [
        (crontab(hour=3), True),
        (crontab(hour="*/12", day_of_week="mon"), True),
        (crontab(hour=3, minute=0), False),
        (crontab(hour="9-17"), False),
        (crontab(), False),
        (3600, False),
    ],
    ids=label,
)
def test_an_hour_without_a_minute_is_a_warning(project, when, fires):
    scheduled(project, when)
    assert project.messages(schedule.check_crontabs).keys() == ({"W053"} if fires else set())


def test_two_schedules_are_a_warning(project, monkeypatch):
    scheduled(project)
    assert project.messages(schedule.check_schedulers) == {}
    monkeypatch.setattr(schedule.django_apps, "is_installed", lambda name: name == "django_celery_beat")
    assert project.messages(schedule.check_schedulers).keys() == {"W048"}
    project.app.conf.beat_scheduler = "django_celery_beat.schedulers:DatabaseScheduler"
    assert project.messages(schedule.check_schedulers) == {}
    project.app.conf.update(beat_scheduler="celery.beat:PersistentScheduler", beat_schedule={})
    assert project.messages(schedule.check_schedulers) == {}


def test_what_is_scheduled_in_the_database_is_not_judged(project, monkeypatch):
    assert project.found(schedule.check_stored) == []
    monkeypatch.setattr(schedule.django_apps, "is_installed", lambda name: name == "django_celery_beat")
    assert project.unknown(schedule.check_stored).keys() == {"W049", "W050", "W051", "W052", "W053"}
