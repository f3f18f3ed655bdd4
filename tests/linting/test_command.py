"""``task_safety lint``: what it looks at, what it says, and how it ends."""

import sys
from pathlib import Path

import pytest

from django_task_safety import safe_task
from django_task_safety.linting.report import lint
from django_task_safety.linting.targets import files_of, files_of_tasks
from django_task_safety.management.actions import lint as action
from tests.docs.pages import ROOT
from tests.support.commands import task_safety
from tests.testapp.tasks import record

SLEEPS = """
import time
from django_task_safety import safe_task

@safe_task
def sleeps() -> None:
    time.sleep(1)
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "sleepy"
    (folder / "inner").mkdir(parents=True)
    for name, text in {
        "__init__.py": "",
        "tasks.py": SLEEPS,
        "inner/__init__.py": "",
        "inner/tasks.py": SLEEPS,
    }.items():
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "sleepy"]:
        del sys.modules[name]


def test_json_has_one_object_per_finding_and_findings_end_with_1(package):
    answer = task_safety("lint", package / "tasks.py", "--json")
    assert answer.code == 1
    (found,) = answer.json
    message = found.pop("message")
    assert found == {"file": str(package / "tasks.py"), "line": 7, "id": "L301"}
    assert message.startswith("A task sleeps in its transaction.")


def test_a_finding_is_a_line_of_text(package):
    answer = task_safety("lint", package / "tasks.py")
    assert answer.out.startswith(f"{package / 'tasks.py'}:7: L301 A task sleeps")
    assert answer.err == "Found 1 problem."


def test_a_file_without_findings_ends_with_0(tmp_path):
    path = tmp_path / "good.py"
    path.write_text(SLEEPS.replace("time.sleep(1)", "pass"))
    answer = task_safety("lint", path, "--json")
    assert (answer.code, answer.json) == (0, [])
    assert task_safety("lint", path).out == "Nothing was found in 1 file.\n"


@pytest.mark.parametrize("target", ["sleepy", "sleepy.tasks", "sleepy.inner"])
def test_a_module_or_package_is_looked_at_without_being_run(package, target):
    found = task_safety("lint", target, "--json").json
    expected = {
        "sleepy": ["inner/tasks.py", "tasks.py"],
        "sleepy.tasks": ["tasks.py"],
        "sleepy.inner": ["inner/tasks.py"],
    }
    assert [one["file"] for one in found] == [str(package / name) for name in expected[target]]
    assert f"{target}.tasks" not in sys.modules


def test_a_folder_is_looked_at_with_all_in_it(package):
    assert len(task_safety("lint", package, "--json").json) == 2


@pytest.mark.parametrize("target", ["no/such.py", "no.such.module", "no such", "..", "json.nothing"])
def test_what_is_neither_a_file_nor_a_module_is_a_wrong_call(target, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = task_safety("lint", target if target != ".." else "..x")
    assert answer.code == 2
    assert "Give a path, or a dotted name" in answer.err


def test_a_file_that_is_no_python_is_a_finding(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("import django_task_safety\ndef (:\n")
    (found,) = task_safety("lint", path, "--json").json
    assert (found["line"], found["id"]) == (2, "L001")


def test_what_cannot_be_told_is_said_besides_and_ends_with_0(tmp_path):
    path = tmp_path / "tasks.py"
    path.write_text(SLEEPS.replace("@safe_task", "@safe_task(atomic=ATOMIC)"))
    answer = task_safety("lint", path, "--json")
    assert (answer.code, answer.json) == (0, [])
    assert f"{path}:7: L301 cannot tell" in answer.err


def test_without_a_target_the_files_of_all_imported_tasks_are_looked_at(monkeypatch):
    monkeypatch.setattr(action.Project, "safe_tasks", [record])
    found = task_safety("lint", "--json").json
    assert {Path(one["file"]) for one in found} == {ROOT / "tests/testapp/tasks.py"}


def test_a_task_without_source_cannot_be_told():
    names = {"safe_task": safe_task}
    exec("@safe_task(name='made')\ndef made(): ...", names)
    assert files_of_tasks([names["made"]]) == ([], ["made"])


def test_the_example_and_the_tests_tasks_have_the_findings_that_are_known():
    assert lint(files_of(str(ROOT / "example"))) == []
    found = lint(files_of(str(ROOT / "tests/testapp")))
    # They sleep in their transactions, and kill their process, on purpose.
    assert {(one.id, one.certain) for one in found} == {("L301", True), ("L401", True)}
