"""The system checks as Django runs them, and what they say where they cannot tell."""

import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import django
import pytest
from celery import Celery
from celery.schedules import crontab
from django.core import checks
from django.db import connections

from django_task_safety import SafeTask
from django_task_safety.checks import registration
from django_task_safety.checks.findings import CannotTell, about, answers, named, warning
from django_task_safety.checks.imports import check_imports
from django_task_safety.checks.installation import check_settings
from django_task_safety.checks.project import Project
from django_task_safety.checks.registration import check_deployment, check_project
from django_task_safety.conf import Conf, conf
from tests.celery import app

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "django_task_safety"


def ids(messages: list[checks.CheckMessage]) -> set[str]:
    return {message.id for message in messages}


def checked(folder: Path, settings: str, *options: str, **environment: str) -> str:
    """Return what ``manage.py check`` says in a process of its own."""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-m", "django", "check", *options],
        env={**os.environ, "PYTHONPATH": f"{ROOT}", "DJANGO_SETTINGS_MODULE": settings, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in ended.stderr
    return ended.stderr + ended.stdout


def test_the_checks_say_nothing_of_projects_in_order(tmp_path):
    # On a server its connections would have to be kept.
    assert "no issues" in checked(ROOT, "tests.settings", TASK_SAFETY_TEST_DATABASE="null")
    assert "no issues" in checked(ROOT / "example", "shop.settings", EXAMPLE_HOME=str(tmp_path))


def test_the_checks_for_production_are_run_for_it_only():
    assert "W026" in checked(ROOT, "tests.settings", "--deploy")


def test_the_system_checks_are_registered():
    registered = {check.__name__ for check in checks.registry.registry.get_checks(include_deployment_checks=True)}
    assert {"check_settings", "check_project", "check_deployment", "check_database", "check_models"} <= registered
    assert check_deployment not in checks.registry.registry.get_checks()


def test_every_check_that_there_is_runs():
    defined = {
        name
        for path in (PACKAGE / "checks").glob("*.py")
        for name in re.findall(r"^@about\(.*\)\ndef (\w+)", path.read_text(), flags=re.MULTILINE)
    }
    run = [*registration.ALWAYS, *registration.DEPLOYED]
    assert defined
    assert defined == {check.__name__ for check in run}
    assert len(run) == len(set(run))


def test_each_id_is_said_by_one_check_and_named_in_a_test():
    said = [number for check in (*registration.ALWAYS, *registration.DEPLOYED) for number in vars(check)["ids"]]
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    source = "".join(path.read_text() for path in (PACKAGE / "checks").glob("*.py"))
    numbers = set(re.findall(r"task_safety\.([EWI]\d{3})", source))
    assert len(numbers) > 35
    assert [number for number in numbers if f'{number}"' not in tests] == []
    assert {number.removeprefix("task_safety.") for number in said} <= numbers


def test_a_wrong_setting_is_an_error(settings):
    settings.TASK_SAFETY = {"LEASES": 3}
    (message,) = check_settings()
    assert (message.id, message.level) == ("task_safety.E001", checks.ERROR)
    assert "Did you mean 'LEASE'" in message.msg
    assert check_project() == []
    settings.TASK_SAFETY = {"LEASE": 3}
    assert check_settings() == []


def test_an_app_that_is_not_installed_is_an_error(settings):
    settings.INSTALLED_APPS = [name for name in settings.INSTALLED_APPS if name != "django_task_safety"]
    (message,) = check_settings()
    assert message.id == "task_safety.E002"
    assert "INSTALLED_APPS" in message.msg


@pytest.mark.parametrize(("broker_url", "fires"), [("redis://", True), ("amqp://", False)])
def test_a_fresh_process_checks_the_tasks_of_all_apps(broker_url, fires):
    environment = {"TASK_SAFETY_TEST_BROKER": broker_url, "TASK_SAFETY_TEST_OPTIONS": '{"visibility_timeout": 90}'}
    said = checked(ROOT, "tests.settings", **environment).splitlines()
    assert any("(task_safety.W001)" in line and "tests.testapp." in line for line in said) is fires


def test_tasks_in_modules_that_the_project_names_are_checked(settings, tmp_path, monkeypatch):
    source = "from django_task_safety import safe_task\n\n\n@safe_task(time_limit=100)\ndef far(): ...\n"
    (tmp_path / "named_by_the_project.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    settings.CELERY_IMPORTS = ["named_by_the_project"]
    assert "named_by_the_project.far" in [task.name for task in Project(Conf()).safe_tasks]
    del app.tasks["named_by_the_project.far"]


def test_a_module_that_cannot_be_imported_is_a_warning_and_the_other_tasks_are_checked(settings):
    assert list(check_imports(Project(Conf()))) == []
    settings.CELERY_IMPORTS = ["tests.no_such_module"]
    project = Project(Conf())
    (message,) = check_imports(project)
    assert message.id == "task_safety.W003"
    assert "ModuleNotFoundError: No module named 'tests.no_such_module'" in message.msg
    assert "tests.testapp.tasks.charge" in [task.name for task in project.safe_tasks]


def test_checking_the_tasks_neither_sets_django_up_again_nor_runs_the_checks_again(monkeypatch):
    again: list[str] = []
    monkeypatch.setattr(django, "setup", lambda *args, **kwargs: again.append("setup"))
    monkeypatch.setattr(checks, "run_checks", lambda *args, **kwargs: again.append("checks"))
    check_project()
    assert again == []


@about("task_safety.W901", "task_safety.W902")
def cannot_tell(project):
    yield CannotTell(("task_safety.W901", "task_safety.W902"), "the weather")
    yield CannotTell(("task_safety.W903",), "the time.")
    yield CannotTell(("task_safety.W901",), "the weather")


@about("task_safety.W904")
def breaks(project):
    yield warning("That much is wrong.", "Mend it.", "task_safety.W904")
    raise KeyError("odd")


def test_celerys_own_tasks_which_task_cls_makes_safe_are_not_the_projects():
    made_safe = Celery("made safe", task_cls="django_task_safety:SafeTask")
    try:
        made_safe.finalize()
        assert isinstance(made_safe.tasks["celery.chord_unlock"], SafeTask)
        assert [task.name for task in Project(conf()).safe_tasks if task.name.startswith("celery.")] == []
    finally:
        app.set_current()


def test_what_cannot_be_told_is_said_in_one_message_with_the_reason():
    (message,) = answers([cannot_tell], Project(Conf()))
    assert (message.id, message.level) == ("task_safety.I001", checks.INFO)
    assert message.msg == (
        "Some checks cannot tell. task_safety.W901, task_safety.W902: the weather. task_safety.W903: the time."
    )
    assert "SILENCED_SYSTEM_CHECKS" in message.hint


def test_an_id_that_is_silenced_is_not_said_to_be_unknown(settings):
    settings.SILENCED_SYSTEM_CHECKS = ["task_safety.W901", "task_safety.W903"]
    (message,) = answers([cannot_tell], Project(Conf()))
    assert message.msg == "Some checks cannot tell. task_safety.W902: the weather."
    settings.SILENCED_SYSTEM_CHECKS = ["task_safety.W901", "task_safety.W902", "task_safety.W903"]
    assert answers([cannot_tell], Project(Conf())) == []


def test_a_check_that_breaks_cannot_tell_and_stops_no_other():
    found = answers([breaks, cannot_tell], Project(Conf()))
    assert ids(found) == {"task_safety.W904", "task_safety.I001"}
    assert "task_safety.W904: KeyError: 'odd'." in found[-1].msg


def nothing() -> None: ...


ODD = [None, 0, "", "x", [1], {"a": 1}, {"a": None}, object, -1.5]


@pytest.mark.parametrize("value", ODD, ids=repr)
def test_odd_settings_stop_no_check(project, settings, value):
    for name in ("beat_schedule", "broker_url", "broker_transport_options", "accept_content", "task_routes"):
        project.app.conf[name] = value
    for name in ("result_expires", "result_backend", "worker_prefetch_multiplier", "task_time_limit", "worker_pool"):
        project.app.conf[name] = value
    settings.MIDDLEWARE = value
    settings.CACHES = {"default": {"BACKEND": value, "LOCATION": value}, "other": value}
    project.plain(nothing, default_retry_delay=value)
    odd = project.project()
    for message in answers([*registration.ALWAYS, *registration.DEPLOYED], odd):
        assert str(message)


def test_a_message_names_a_few_tasks_and_counts_the_others():
    assert named(["b", "a", "a"]) == "Tasks a, b"
    assert named(["a"]) == "Task a"
    assert named(map(str, range(12)), "Plain task").endswith(" and 4 more")


def works(note, number): ...


def close_books() -> None: ...


def test_the_configuration_that_the_guides_recommend_is_in_order(project, settings, monkeypatch):
    ours = "django_task_safety.middleware.TaskSafetyMiddleware"
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, ours]
    monkeypatch.setattr(type(connections["default"]), "vendor", "postgresql")
    described = {"CONN_MAX_AGE": 600, "OPTIONS": {"connect_timeout": 5}, "NAME": "shop", "PORT": "5432"}
    for name, value in described.items():
        monkeypatch.setitem(connections["default"].settings_dict, name, value)
    hour = timedelta(hours=1)
    project.app.conf.update(
        broker_url="redis://localhost/0",
        result_backend="redis://localhost/1",
        worker_prefetch_multiplier=1,
        beat_schedule={
            "hourly": {"task": "close_books", "schedule": hour},
            "nightly": {"task": "nothing", "schedule": crontab(hour=4, minute=30)},
        },
    )
    project.plain(nothing)
    project.safe(works, time_limit=3000)
    project.idempotent(close_books, period=hour)
    assert answers([*registration.ALWAYS, *registration.DEPLOYED], project.project()) == []
