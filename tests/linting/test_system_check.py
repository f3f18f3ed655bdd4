"""The linter's findings as system checks."""

from types import SimpleNamespace

from django.core import checks

from django_task_safety.linting import system_check
from django_task_safety.linting.system_check import check_sources
from tests.docs.pages import ROOT
from tests.testapp.tasks import record


def only(monkeypatch, *tasks):
    monkeypatch.setattr(system_check, "Project", lambda conf: SimpleNamespace(safe_tasks=list(tasks)))


def test_each_finding_is_a_warning_with_its_id_and_place(monkeypatch):
    only(monkeypatch, record)
    found = [one for one in check_sources() if one.id == "task_safety.L301"]
    assert found
    assert {one.level for one in found} == {checks.WARNING}
    assert all(str(one.obj).startswith(f"{ROOT / 'tests/testapp/tasks.py'}:") for one in found)
    assert "# task-safety: ok=L301 reason" in found[0].hint


def test_what_cannot_be_told_is_one_message_with_the_place(monkeypatch, tmp_path):
    path = tmp_path / "tasks.py"
    path.write_text(
        "import time\nfrom django_task_safety import safe_task\n@safe_task(atomic=ATOMIC)\ndef f(): time.sleep(1)\n"
    )
    only(monkeypatch)
    monkeypatch.setattr(system_check, "files_of_tasks", lambda tasks: ([path], []))
    (said,) = check_sources()
    assert said.id == "task_safety.I001"
    assert f"task_safety.L301: {path}:4" in said.msg


def test_the_sources_are_read_only_for_a_deployment():
    assert check_sources in checks.registry.registry.get_checks(include_deployment_checks=True)
    assert check_sources not in checks.registry.registry.get_checks()
