"""The system checks: each says what it is for, and is silent where all is well."""

import enum
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import django
import pytest
from django.core import checks
from django.core.management import call_command
from django.db import DatabaseError, connection, connections, models
from django.test.utils import isolate_apps
from model_utils.managers import SoftDeletableManager

from django_task_safety import safe_task
from django_task_safety.checks.installation import (
    check_broker,
    check_connections,
    check_database,
    check_schemas,
    check_settings,
)
from django_task_safety.checks.models import check_models
from django_task_safety.locking.lockable import LockableQuerySet
from django_task_safety.models import LiveUniqueConstraint, LockableModel, SoftDeleteModel
from django_task_safety.soft_delete.managers import RemovedManager, SoftDeleteManager, SoftDeleteQuerySet
from tests.celery import app
from tests.support.ids import label


class Slugs(models.QuerySet):
    """A queryset that knows nothing of the mixins."""


class SoftSlugs(SoftDeleteQuerySet):
    """One that derives from theirs."""


class LockableSlugs(LockableQuerySet):
    """Likewise."""


class Level(enum.IntEnum):
    """As PostgreSQL's drivers have it."""

    READ_COMMITTED = 2
    REPEATABLE_READ = 3
    SERIALIZABLE = 4


@safe_task(time_limit=100, soft_time_limit=90)
def hundred_seconds() -> None: ...


@safe_task(time_limit=100, soft_time_limit=90, acks_late=False)
def acknowledged_early() -> None: ...


@pytest.fixture
def broker(settings):
    """Configure the broker, for the checks to look at; nothing connects to it."""

    # In Django's settings: before Celery 5.7 these win over what is changed in the app's configuration.
    def configure(url: str, **options: object) -> None:
        settings.CELERY_BROKER_URL = url
        settings.CELERY_BROKER_TRANSPORT_OPTIONS = options

    return configure


def ids(messages: list[checks.CheckMessage]) -> set[str]:
    return {message.id for message in messages}


def test_a_project_in_order_passes_the_checks(db, monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", 600)
    # Other modules' tests have tasks that are not in order.
    sound = {name: task for name, task in app.tasks.items() if not name.startswith("tests.producer.")}
    monkeypatch.setattr(app, "tasks", sound)
    call_command("check", database=["default"], fail_level="WARNING")
    assert [message for message in checks.run_checks(databases=["default"]) if not message.is_silenced()] == []


def test_the_system_checks_are_registered():
    registered = {check.__name__ for check in checks.registry.registry.get_checks(include_deployment_checks=True)}
    assert {
        "check_settings",
        "check_broker",
        "check_connections",
        "check_schemas",
        "check_database",
        "check_models",
    } <= registered


def test_a_wrong_setting_is_an_error(settings):
    settings.TASK_SAFETY = {"LEASES": 3}
    (message,) = check_settings()
    assert (message.id, message.level) == ("task_safety.E001", checks.ERROR)
    assert "Did you mean 'LEASE'" in message.msg
    settings.TASK_SAFETY = {"LEASE": 3}
    assert check_settings() == []


def test_an_app_that_is_not_installed_is_an_error(settings):
    settings.INSTALLED_APPS = [name for name in settings.INSTALLED_APPS if name != "django_task_safety"]
    (message,) = check_settings()
    assert message.id == "task_safety.E002"
    assert "INSTALLED_APPS" in message.msg


@pytest.mark.parametrize(
    ("url", "options", "fires"),
    [
        ("redis://", {"visibility_timeout": 100}, True),
        ("redis://", {"visibility_timeout": 60}, True),
        ("rediss://", {"visibility_timeout": 60}, True),
        ("sqs://", {"visibility_timeout": 60}, True),
        ("sentinel://", {"visibility_timeout": 60}, True),
        ("redis://", {"visibility_timeout": 101}, False),
        ("redis://", {}, False),
        ("amqp://", {}, False),
        ("memory://", {}, False),
    ],
    ids=label,
)
def test_a_broker_that_delivers_again_while_a_task_may_still_run_is_a_warning(broker, url, options, fires):
    broker(url, **options)
    found = [message for message in check_broker() if hundred_seconds.name in message.msg]
    assert ids(found) == ({"task_safety.W001"} if fires else set())
    assert all(message.hint and "visibility_timeout" in message.hint for message in found)


def test_a_task_that_is_acknowledged_early_is_not_delivered_again(broker):
    broker("redis://", visibility_timeout=60)
    assert not any(acknowledged_early.name in message.msg for message in check_broker())


def test_a_task_without_a_time_limit_is_a_warning(broker, monkeypatch):
    broker("redis://")
    monkeypatch.setattr(hundred_seconds._get_current_object(), "time_limit", None)
    (message,) = [message for message in check_broker() if hundred_seconds.name in message.msg]
    assert "no time limit" in message.msg


def test_one_warning_names_all_tasks_with_the_same_limit(broker):
    broker("redis://", visibility_timeout=60)
    messages = check_broker()
    assert ids(messages) == {"task_safety.W001"}
    limits = [re.search(r"(no time limit|time limit of \S+)", message.msg)[1] for message in messages]
    assert len(limits) == len(set(limits)) > 1


@pytest.mark.parametrize(("broker_url", "fires"), [("redis://", True), ("amqp://", False)])
def test_a_fresh_process_checks_the_tasks_of_all_apps(broker_url, fires):
    env = {"TASK_SAFETY_TEST_BROKER": broker_url, "TASK_SAFETY_TEST_OPTIONS": '{"visibility_timeout": 60}'}
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-m", "django", "check"],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", **env},
        cwd=Path(__file__).parent.parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    warned = [line for line in ended.stderr.splitlines() if "(task_safety.W001)" in line]
    assert any("tests.testapp.tasks.charge," in line for line in warned) is fires
    assert "Traceback" not in ended.stderr


def test_tasks_in_modules_that_the_project_names_are_checked(broker, settings, tmp_path, monkeypatch):
    source = "from django_task_safety import safe_task\n\n\n@safe_task(time_limit=100)\ndef far(): ...\n"
    (tmp_path / "named_by_the_project.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    broker("redis://", visibility_timeout=60)
    settings.CELERY_IMPORTS = ["named_by_the_project"]
    assert any("named_by_the_project.far" in message.msg for message in check_broker())


def test_a_module_that_cannot_be_imported_is_a_warning_and_the_other_tasks_are_checked(broker, settings):
    broker("redis://", visibility_timeout=60)
    settings.CELERY_IMPORTS = ["tests.no_such_module"]
    messages = check_broker()
    assert ids(messages) == {"task_safety.W001", "task_safety.W003"}
    (message,) = [message for message in messages if message.id == "task_safety.W003"]
    assert "ModuleNotFoundError: No module named 'tests.no_such_module'" in message.msg


def test_checking_the_tasks_neither_sets_django_up_again_nor_runs_the_checks_again(broker, monkeypatch):
    again: list[str] = []
    monkeypatch.setattr(django, "setup", lambda *args, **kwargs: again.append("setup"))
    monkeypatch.setattr(checks, "run_checks", lambda *args, **kwargs: again.append("checks"))
    broker("redis://", visibility_timeout=60)
    assert ids(check_broker()) == {"task_safety.W001"}
    assert again == []


def test_the_operations_database_is_checked_only_where_django_checks_databases(db):
    assert check_database() == []
    assert check_database(databases=["other"]) == []
    assert check_database(databases=["default"]) == []


def test_too_old_a_database_is_an_error(db, monkeypatch):
    monkeypatch.setattr(connection, "get_database_version", lambda: (1, 0))
    (message,) = check_database(databases=["default"])
    assert (message.id, message.level) == ("task_safety.E003", checks.ERROR)
    assert "1.0" in message.msg


def test_a_schema_for_each_tenant_is_an_error(monkeypatch):
    assert check_schemas() == []
    # As django-tenants' connections have it.
    monkeypatch.setattr(connection, "set_schema", lambda name: None, raising=False)
    (message,) = check_schemas()
    assert (message.id, message.level) == ("task_safety.E007", checks.ERROR)
    assert "'default' has a schema for each tenant" in message.msg
    monkeypatch.undo()
    # django-pgschemas' follow what is active elsewhere.
    monkeypatch.setattr(type(connections["default"]), "__module__", "django_pgschemas.postgresql.base")
    assert ids(check_schemas()) == {"task_safety.E007"}


def test_a_database_that_does_not_answer_is_not_judged(db, monkeypatch):
    def refuse() -> None:
        raise DatabaseError("down")

    monkeypatch.setattr(connection, "get_database_version", refuse)
    assert check_database(databases=["default"]) == []


@pytest.mark.parametrize(
    ("level", "fires"),
    [
        (Level.REPEATABLE_READ, True),
        (Level.SERIALIZABLE, True),
        ("repeatable read", True),
        ("serializable", True),
        (Level.READ_COMMITTED, False),
        ("read committed", False),
        (None, False),
    ],
    ids=label,
)
def test_an_isolation_level_at_which_long_tasks_cannot_commit_is_a_warning(db, monkeypatch, level, fires):
    monkeypatch.setattr(connection, "isolation_level", level, raising=False)
    assert ids(check_database(databases=["default"])) == ({"task_safety.W002"} if fires else set())


def test_a_wrong_setting_is_reported_by_one_check_only(db, settings):
    settings.TASK_SAFETY = {"DATABASE": "elsewhere"}
    assert ids(check_settings() + check_database(databases=["default"])) == {"task_safety.E001"}


class Plain(SoftDeleteModel):
    """The ways to be unique among removed rows as well."""

    slug = models.SlugField(unique=True)
    site = models.SlugField()
    page = models.SlugField()

    class Meta:
        app_label = "notesapp"
        abstract = True
        unique_together = (("site", "page"),)
        constraints = (models.UniqueConstraint(fields=["page"], name="%(class)s_page"),)


@isolate_apps("tests.notesapp")
def test_a_unique_value_that_removed_rows_hold_is_a_warning():
    class Bare(Plain):
        class Meta(Plain.Meta):
            pass

    class Live(SoftDeleteModel):
        slug = models.SlugField()

        class Meta:
            app_label = "notesapp"
            constraints = (
                LiveUniqueConstraint(fields=["slug"], name="live"),
                models.UniqueConstraint(fields=["slug"], name="some", condition=models.Q(slug="a")),
            )

    class Child(Bare):
        class Meta:
            app_label = "notesapp"

    class Proxy(Bare):
        class Meta:
            app_label = "notesapp"
            proxy = True

    config = SimpleNamespace(get_models=lambda: [Bare, Live, Child, Proxy])
    found = check_models([config])
    assert ids(found) == {"task_safety.W004"}
    assert {message.obj for message in found} == {Bare}
    assert [re.findall(r"unique by (.*) among", message.msg) for message in found] == [
        ["slug"], ["site, page"], ["page"]
    ]  # fmt: skip
    assert all("LiveUniqueConstraint" in str(message.hint) for message in found)


@isolate_apps("tests.notesapp")
def test_a_base_manager_that_leaves_out_removed_rows_is_warned_of():
    class Hidden(SoftDeleteModel):
        class Meta:
            app_label = "notesapp"
            base_manager_name = "objects"

    class Seen(SoftDeleteModel):
        class Meta:
            app_label = "notesapp"
            base_manager_name = "all_objects"

    (found,) = check_models([SimpleNamespace(get_models=lambda: [Hidden, Seen])])
    assert (found.id, found.obj) == ("task_safety.W007", Hidden)


def foreign_managers(*found: type[models.Model]) -> dict[str, list[str]]:
    """Return the managers that are warned of, by model."""
    messages = check_models([SimpleNamespace(get_models=lambda: found)])
    assert ids(messages) <= {"task_safety.W008"}
    assert all("django_task_safety.managers" in message.hint for message in messages)
    return {
        model.__name__: [message.msg.split()[0].rpartition(".")[2] for message in messages if message.obj is model]
        for model in found
    }


@isolate_apps("tests.notesapp")
def test_a_manager_that_does_not_know_of_removed_rows_is_a_warning():
    class Foreign(SoftDeleteModel):
        objects = Slugs.as_manager()
        plain = models.Manager()
        theirs = SoftDeletableManager(_emit_deprecation_warnings=False)
        half = SoftSlugs.as_manager()

        class Meta:
            app_label = "notesapp"

    class Derived(SoftDeleteModel):
        objects = SoftDeleteManager.from_queryset(SoftSlugs)()
        archive = RemovedManager.from_queryset(SoftSlugs)()

        class Meta:
            app_label = "notesapp"

    class Both(LockableModel, SoftDeleteModel):
        lock_blocks = frozenset({"save"})

        class Meta:
            app_label = "notesapp"

    assert foreign_managers(Foreign, Derived, Both) == {
        "Foreign": ["objects", "plain", "theirs", "half"], "Derived": [], "Both": []
    }  # fmt: skip


@isolate_apps("tests.notesapp")
def test_a_manager_that_does_not_look_at_the_locks_that_block_saving_is_a_warning():
    class Foreign(LockableModel):
        lock_blocks = frozenset({"save"})
        objects = Slugs.as_manager()

        class Meta:
            app_label = "notesapp"

    class Derived(LockableModel):
        lock_blocks = ("save", "delete")
        objects = LockableSlugs.as_manager()

        class Meta:
            app_label = "notesapp"

    class Deletes(LockableModel):
        objects = Slugs.as_manager()

        class Meta:
            app_label = "notesapp"

    assert foreign_managers(Foreign, Derived, Deletes) == {"Foreign": ["objects"], "Derived": [], "Deletes": []}


@pytest.mark.parametrize("blocks", ["save", {"delete", "update"}, ["Save"], {None}, True, None], ids=label)
@isolate_apps("tests.notesapp")
def test_lock_blocks_with_what_a_lock_cannot_block_is_an_error(blocks):
    class Misspelt(LockableModel):
        lock_blocks = blocks

        class Meta:
            app_label = "notesapp"

    (error,) = (one for one in check_models([SimpleNamespace(get_models=lambda: [Misspelt])]) if one.level >= 40)
    assert (error.id, error.obj) == ("task_safety.E006", Misspelt)
    assert repr(blocks) in error.msg


@pytest.mark.parametrize(
    ("vendor", "age", "options", "fires"),
    [
        ("postgresql", 0, {}, True),
        ("mysql", 0, {}, True),
        ("postgresql", 600, {}, False),
        ("mysql", None, {}, False),
        ("postgresql", 0, {"pool": True}, False),
        ("sqlite", 0, {}, False),
    ],
)
def test_a_connection_for_each_task_is_a_warning(monkeypatch, vendor, age, options, fires):
    monkeypatch.setattr(type(connections["default"]), "vendor", vendor)
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", age)
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)
    assert ids(check_connections()) == ({"task_safety.W010"} if fires else set())
    assert all("CONN_MAX_AGE" in message.msg and message.hint for message in check_connections())


def test_the_connection_to_look_at_is_the_operations(settings, monkeypatch):
    for alias, age in (("default", 0), ("other", 600)):
        monkeypatch.setattr(type(connections[alias]), "vendor", "postgresql")
        monkeypatch.setitem(connections[alias].settings_dict, "CONN_MAX_AGE", age)
    assert "'default'" in check_connections()[0].msg
    settings.TASK_SAFETY = {"DATABASE": "other"}
    assert check_connections() == []
    settings.TASK_SAFETY = {"DATABASE": "nowhere"}
    assert check_connections() == []
