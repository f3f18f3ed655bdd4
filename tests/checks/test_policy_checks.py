"""Checks of tasks whose policy their object's model cannot keep."""

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from django_task_safety import CANCEL, KEEP, PROTECT, idempotent_task, safe_task
from django_task_safety.checks.policies import check_annotations, check_keys, check_policies
from django_task_safety.checks.project import Project
from django_task_safety.conf import Conf
from tests.celery import app
from tests.testapp.models import Folder, Machine, Page

if TYPE_CHECKING:
    from collections.abc import Buffer

    from tests.testapp.models import Vault


@pytest.fixture
def app_tasks():
    """Return what a check says of the tasks that a test defines."""
    before = set(app.tasks)
    yield lambda check: {(one.id, one.msg.split()[1].rsplit(".", 1)[1]) for one in check(Project(Conf()))}
    for name in set(app.tasks) - before:
        del app.tasks[name]


@pytest.fixture
def found(app_tasks):
    return lambda: app_tasks(check_policies)


def test_on_delete_keep_for_a_model_without_soft_delete_is_warned_of(found):
    @safe_task(on_delete=KEEP)
    def keeps_page(page: Page) -> None: ...

    @safe_task(on_delete=KEEP, subject="page")
    def keeps_second(folder: Folder, page: "Page") -> None: ...

    @safe_task(on_delete=KEEP)
    def keeps_something(obj) -> None: ...

    @safe_task(on_delete=CANCEL)
    def cancels(page: Page) -> None: ...

    app.finalize()
    assert ("task_safety.W005", "keeps_page") in found()
    assert ("task_safety.W005", "keeps_second") in found()
    assert not {name for _, name in found()} & {"keeps_something", "cancels"}


def test_on_delete_protect_for_a_model_that_is_not_watched_is_warned_of(found):
    @safe_task(on_delete=PROTECT)
    def protects_folder(folder: Folder) -> None: ...

    @safe_task(on_delete=PROTECT)
    def protects_machine(machine: Machine | int, other: Machine) -> None: ...

    app.finalize()
    assert ("task_safety.W006", "protects_folder") in found()
    assert "protects_machine" not in {name for _, name in found()}


def test_an_annotation_that_names_a_model_only_for_type_checkers_is_warned_of(app_tasks):
    @safe_task
    def opens(vault: "Vault | None") -> None: ...

    @safe_task
    def reads(page: "Page", data: "Buffer", other) -> None: ...

    app.finalize()
    found = app_tasks(check_annotations)
    assert ("task_safety.W011", "opens") in found
    assert "reads" not in {name for _, name in found}


def test_a_version_that_is_part_of_the_default_key_is_warned_of(app_tasks):
    @idempotent_task(version="number")
    def versioned(page, number) -> None: ...

    @idempotent_task(key="page", version="number", match="other")
    def keyed(page, number, other) -> None: ...

    @idempotent_task(match=("page", "number"))
    def matched(page, number) -> None: ...

    app.finalize()
    assert app_tasks(check_keys) == {("task_safety.W009", "versioned"), ("task_safety.W009", "matched")}


def test_defining_a_task_before_the_apps_are_ready_is_fine():
    """A project's Celery module may be imported by its settings."""
    code = (
        "import django_task_safety, celery\n"
        "app = celery.Celery('early', set_as_current=True)\n"
        "task = django_task_safety.safe_task(lambda note: None)\n"
        "import django_task_safety.checks.installation\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_annotation_that_cannot_be_resolved_stops_no_check(found):
    @safe_task(on_delete=KEEP)
    def keeps_unknown(obj: "Unknown") -> None: ...  # noqa: F821

    app.finalize()
    assert "keeps_unknown" not in {name for _, name in found()}


def test_an_annotation_that_cannot_be_resolved_hides_no_other(found):
    @safe_task(on_delete=KEEP)
    def keeps_beside_unknown(data: "Unknown", page: "Page") -> "Nothing": ...  # noqa: F821

    app.finalize()
    assert ("task_safety.W005", "keeps_beside_unknown") in found()
