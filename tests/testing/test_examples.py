"""A task's example is what `pytest --crash-safe` and `manage.py task_safety explore` try it with."""

import itertools
import json
import os
import re
import subprocess
import sys
import textwrap
import unittest

import pytest
from django.db import connection

from django_task_safety import InvalidArguments, SafeTask, pytest_plugin, registry, safe_task
from django_task_safety.management.actions import explore
from django_task_safety.management.console import SomethingIsWrong
from django_task_safety.testing import CleanRunFailed, assert_crash_safe, example_of
from django_task_safety.testing.examples import Examples, call_of
from tests.celery import app
from tests.support.workers import ROOT
from tests.testapp.tasks import act, plain

PROJECT = {
    "shop/__init__.py": "import tests",
    "shop/settings.py": """
        from tests.settings import *

        INSTALLED_APPS = [*INSTALLED_APPS, "shop"]
        """,
    "shop/tasks.py": """
        from django.db.models import F

        from django_task_safety import safe_task
        from tests.testapp.models import Order

        @safe_task
        def charge(order: Order):
            Order.objects.filter(pk=order.pk).update(charged=F("charged") + order.amount)

        @charge.example
        def an_order():
            return (Order.objects.create(number=7, amount=250),), {}

        @safe_task(atomic=False)
        def charge_again(number):
            Order.objects.filter(number=number).update(charged=F("charged") + 250)  # fault

        @charge_again.example
        def its_number():
            return (), {"number": Order.objects.create(number=7, amount=250).number}

        @safe_task
        def without_example(order: Order): ...
        """,
    "test_shop.py": "def test_nothing(): ...",
}
NUMBERS = itertools.count()
FAULT = next(
    f"tasks.py:{number}" for number, line in enumerate(PROJECT["shop/tasks.py"].splitlines(), 1) if "# fault" in line
)


@pytest.fixture
def project(tmp_path, transactional_db):
    """Write a project, and return what calls a module in it."""
    for name, text in PROJECT.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text))
    paths = os.pathsep.join([str(ROOT), str(tmp_path)])
    # Without what says that this process is one of several.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"DJANGO_SETTINGS_MODULE": "shop.settings", "PYTHONPATH": paths}

    # Or it would make its test database in the place of this one.
    database = {**connection.settings_dict, "TEST": {"NAME": f"test_shop_{os.getpid()}"}}
    if connection.vendor == "sqlite":
        database |= {"NAME": ":memory:", "TEST": {"NAME": str(tmp_path / "test_shop.sqlite3")}}
    environment["TASK_SAFETY_TEST_DATABASE"] = json.dumps(database)

    def call(*arguments):
        command = [sys.executable, "-m", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return call


def without_example():
    @safe_task(name=f"{__name__}.charge_{next(NUMBERS)}")
    def charge(number): ...

    return charge


def test_an_example_is_registered_and_stays_a_function():
    charge = without_example()

    @charge.example
    def first():
        return (1,), {}

    @charge.example
    def second():
        return (), {"number": 2}

    assert first() == ((1,), {})
    assert call_of(charge) == ((), {"number": 2})


def test_a_task_of_a_class_takes_an_example_as_well():
    class Charge(SafeTask):
        name = f"{__name__}.Charge"

        def run(self, number): ...

    task = app.register_task(Charge())
    task.example(lambda: ([1], {}))
    assert call_of(task) == ([1], {})
    assert not without_example().examples


@pytest.mark.parametrize("made", [7, (7,), ((7,), 7), ("ab", {}), None])
def test_an_example_of_another_shape_is_refused(made):
    task = without_example()
    task.example(lambda: made)
    with pytest.raises(InvalidArguments, match=r"charge_\d+ returned .* instead of \(args, kwargs\)"):
        call_of(task)


def test_a_task_without_an_example_is_told_how_to_have_one():
    with pytest.raises(InvalidArguments, match=r"@charge_\d+\.example"):
        call_of(without_example())


@pytest.fixture
def djangos_task(monkeypatch):
    django_tasks = pytest.importorskip("tests.testapp.django_tasks", reason="there are no Tasks", exc_type=ImportError)
    monkeypatch.setattr(registry, "_makers", [*registry._makers])
    yield django_tasks.add
    registry.safe_task_named(django_tasks.add.module_path).examples.clear()


@pytest.mark.django_db(transaction=True)
def test_one_of_djangos_tasks_has_an_example_of_its_own_and_is_tried_with_it(djangos_task):
    @example_of(djangos_task)
    def two_numbers():
        return (1,), {"b": 2}

    assert two_numbers() == ((1,), {"b": 2})
    examples = Examples()
    (task,) = [task for task in examples.tasks if task.name == djangos_task.module_path]
    assert task.name not in examples.missing
    args, kwargs = call_of(task)
    assert assert_crash_safe(task, *args, **kwargs).points[0].line.startswith("django_tasks.py:")


@pytest.mark.parametrize("task", [plain, without_example(), 7])
def test_what_is_none_of_djangos_tasks_has_no_such_example(task):
    with pytest.raises(InvalidArguments, match=r"none of Django's tasks.*@task\.example"):
        example_of(task)


@pytest.mark.parametrize("processes", [0, 2])
def test_pytest_tries_each_task_with_an_example_and_names_those_without(project, processes):
    if processes:
        pytest.importorskip("xdist")
    options = ["-n", str(processes)] if processes else []
    said = project("pytest", "--crash-safe", "-p", "no:cacheprovider", *options).stdout
    assert "1 failed, 2 passed" in said
    assert re.search(r"FAILED .*crash_safe\[shop\.tasks\.charge_again\]", said)
    assert f"The first is {FAULT}, after UPDATE" in said
    assert re.search(r"not tried: .*\bshop\.tasks\.without_example", said)


def test_without_fork_pytest_skips_each_and_explore_says_so(monkeypatch):
    monkeypatch.delattr(os, "fork")
    task = without_example()
    task.example(lambda: ((1,), {}))
    with pytest.raises(unittest.SkipTest, match=r"needs os\.fork"):
        pytest_plugin._test_of(task)()
    with pytest.raises(SomethingIsWrong, match=r"needs os\.fork"):
        explore._report(task, (1,), {})


@pytest.mark.django_db(transaction=True)
def test_a_clean_run_that_fails_is_one_that_fails_to_pytest_and_to_explore():
    act.example(lambda: (("raise",), {}))
    try:
        with pytest.raises(CleanRunFailed, match=r"act fails without being harmed.*no"):
            pytest_plugin._test_of(act)()
        with pytest.raises(
            SomethingIsWrong, match=r"act fails without being harmed.*make what it needs there before\.$"
        ):
            explore._report(act, ("raise",), {})
    finally:
        act.examples.clear()


def test_pytest_chooses_among_them_by_name(project):
    said = project("pytest", "--crash-safe", "-k", "crash_safe and not again", "-p", "no:cacheprovider").stdout
    assert "1 passed, 2 deselected" in said


def test_explore_needs_no_arguments_where_there_is_an_example(project):
    done = project("django", "task_safety", "explore", "shop.tasks.charge", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["unsafe"] == []
    assert json.loads(done.stdout)["points"] > 5


def test_explore_ends_with_1_where_a_death_does_harm(project):
    done = project("django", "task_safety", "explore", "shop.tasks.charge_again", "7", "--json")
    first = json.loads(done.stdout)["unsafe"][0]
    assert done.returncode == 1
    assert first["line"] == FAULT
    assert "charged 250 -> 500" in first["differences"][0]


def test_explore_says_that_its_database_is_empty(project):
    done = project("django", "task_safety", "explore", "shop.tasks.without_example", "7")
    assert done.returncode == 1
    assert "The database is empty: let @without_example.example make" in done.stderr
