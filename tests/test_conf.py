"""The settings dict: every key optional, and every mistake an error at the start."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_task_safety import InvalidSetting, safe_task
from django_task_safety.conf import conf, load
from tests.support.ids import label

DURATIONS = ["LEASE", "SWEEP_INTERVAL", "REPUBLISH_AFTER", "MAX_BROKER_DELAY", "RETENTION", "TIME_LIMIT"]


@safe_task
def plain() -> None: ...


def test_no_setting_is_needed():
    loaded = load({})
    assert (loaded.DATABASE, loaded.LEASE, loaded.SWEEP_INTERVAL, loaded.REPUBLISH_AFTER) == ("default", 30, 5, 60)
    assert (loaded.MAX_BROKER_DELAY, loaded.RETENTION, loaded.MAX_PAYLOAD) == (60, 30 * 86_400, 65_536)
    assert loaded.KEEPER is True
    assert 0 < loaded.SOFT_TIME_LIMIT < loaded.TIME_LIMIT


def test_settings_that_are_missing_altogether_are_the_defaults(settings):
    del settings.TASK_SAFETY
    assert conf() == load({})


@pytest.mark.parametrize(
    ("key", "nearest"),
    [("LEASES", "LEASE"), ("lease", "LEASE"), ("SWEEP_INTERVALL", "SWEEP_INTERVAL"), ("MAXPAYLOAD", "MAX_PAYLOAD")],
)
def test_an_unknown_setting_is_an_error_that_names_the_nearest(key, nearest):
    with pytest.raises(InvalidSetting, match=f"{key}.*Did you mean '{nearest}'"):
        load({key: 1})


@pytest.mark.parametrize("key", ["COMPLETELY_DIFFERENT", 5, None, ("LEASE",)])
def test_an_unknown_setting_that_is_near_to_no_other_lists_them_all(key):
    with pytest.raises(InvalidSetting, match="REPUBLISH_AFTER"):
        load({key: 1})


@pytest.mark.parametrize("raw", [None, [], "LEASE", [("LEASE", 1)], 5])
def test_the_settings_are_a_dict(raw):
    with pytest.raises(InvalidSetting, match="dict"):
        load(raw)


@pytest.mark.parametrize("key", DURATIONS)
@pytest.mark.parametrize(
    "value", [0, -1, -0.5, "30", True, float("nan"), float("inf"), [], timedelta(0), timedelta(-1)]
)
def test_a_setting_that_is_a_duration_is_positive(key, value):
    with pytest.raises(InvalidSetting, match=key):
        load({key: value})


@pytest.mark.parametrize("key", DURATIONS)
def test_a_setting_that_is_a_duration_is_seconds_or_a_timedelta(key):
    hour = {"SOFT_TIME_LIMIT": 60}
    assert getattr(load({key: timedelta(hours=1), **hour}), key) == 3600.0
    assert getattr(load({key: 3600, **hour}), key) == 3600.0
    assert getattr(load({key: 3600.5, **hour}), key) == 3600.5


@pytest.mark.parametrize("value", [1e300, timedelta.max, 10**20])
@pytest.mark.parametrize("key", ["RETENTION", "LEASE", "SWEEP_INTERVAL"])
def test_a_setting_is_a_duration_that_a_database_and_a_thread_can_count(key, value):
    with pytest.raises(InvalidSetting, match=rf"{key}.*hundred years"):
        load({key: value})


@pytest.mark.parametrize("key", ["RETENTION", "TIME_LIMIT", "SOFT_TIME_LIMIT"])
def test_some_settings_may_be_none(key):
    assert getattr(load({key: None}), key) is None


@pytest.mark.parametrize("key", ["LEASE", "SWEEP_INTERVAL", "MAX_PAYLOAD", "KEEPER", "DATABASE"])
def test_the_other_settings_may_not_be_none(key):
    with pytest.raises(InvalidSetting, match=key):
        load({key: None})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("KEEPER", value) for value in (1, 0, "yes")],
        *[("MAX_PAYLOAD", value) for value in (0, -1, 1.5, "64K", True)],
        *[("DATABASE", value) for value in ("elsewhere", "", 1, [])],
    ],
)
def test_a_setting_of_the_wrong_type_is_an_error(key, value):
    with pytest.raises(InvalidSetting, match=key):
        load({key: value})


@pytest.mark.parametrize("limits", [(60, 60), (61, 60), (1000, 999)])
def test_the_soft_time_limit_of_the_settings_is_below_the_hard_one(limits):
    soft, hard = limits
    with pytest.raises(InvalidSetting, match=r"SOFT_TIME_LIMIT.*TIME_LIMIT"):
        load({"SOFT_TIME_LIMIT": soft, "TIME_LIMIT": hard})


def test_a_wrong_setting_is_also_djangos_improperly_configured():
    with pytest.raises(ImproperlyConfigured):
        load({"LEASES": 1})


def test_the_settings_may_be_overridden_in_tests(settings):
    settings.TASK_SAFETY = {"LEASE": 77}
    assert conf().LEASE == 77
    settings.TASK_SAFETY = {"LEASE": timedelta(seconds=78)}
    assert conf().LEASE == 78
    settings.TASK_SAFETY = {}
    assert conf().LEASE == 30


def test_tasks_have_time_limits_by_default():
    assert plain.time_limit == load({}).TIME_LIMIT
    assert plain.soft_time_limit == load({}).SOFT_TIME_LIMIT


def start(task_safety: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "import django; django.setup(); print('started')"],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "TASK_SAFETY_TEST_SETTINGS": json.dumps(task_safety),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("bad", [{"LEASES": 1}, {"LEASE": -1}, {"KEEPER": "no"}, [1]], ids=label)
def test_a_mistake_in_the_settings_stops_django(bad):
    process = start(bad)
    assert process.returncode != 0
    assert "InvalidSetting" in process.stderr
    assert "TASK_SAFETY" in process.stderr.splitlines()[-1]


def test_good_settings_do_not_stop_django():
    assert start({"LEASE": 10, "KEEPER": False}).stdout == "started\n"


@pytest.mark.parametrize(
    ("given", "limits"),
    [
        ({"TIME_LIMIT": 60}, (54, 60)),
        ({"SOFT_TIME_LIMIT": 3600}, (3600, 4000)),
        ({"TIME_LIMIT": 7200}, (900, 7200)),
        ({"SOFT_TIME_LIMIT": 60}, (60, 1200)),
        ({"TIME_LIMIT": None}, (900, None)),
        ({"SOFT_TIME_LIMIT": None}, (None, 1200)),
    ],
)
def test_a_time_limit_that_the_settings_leave_out_fits_the_other(given, limits):
    loaded = load(given)
    assert limits == (loaded.SOFT_TIME_LIMIT, loaded.TIME_LIMIT)


@pytest.mark.parametrize("value", ["may_see", "", "shop.", ".may_see", "shop.rules:may_see", "a b.c", len, 5, True])
@pytest.mark.parametrize("name", ["STATUS_PERMISSION", "METRICS_PERMISSION"])
def test_a_rule_for_pages_is_a_dotted_path(name, value):
    with pytest.raises(InvalidSetting, match=rf"{name}.*dotted path"):
        load({name: value})


def test_a_rule_for_status_pages_is_not_imported_before_it_is_asked():
    assert load({"STATUS_PERMISSION": "not.there.may_see"}).STATUS_PERMISSION == "not.there.may_see"
    assert load({"STATUS_PERMISSION": None}).STATUS_PERMISSION is None
