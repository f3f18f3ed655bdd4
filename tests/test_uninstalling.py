"""``migrate django_task_safety zero``: what is pending is not dropped."""

import io

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import connections
from django.db.migrations.loader import MigrationLoader
from django.db.models.signals import pre_migrate

from django_task_safety.errors import OperationsPending, TaskSafetyError
from django_task_safety.models import Operation
from django_task_safety.uninstalling import refuse_while_pending
from tests.testapp.tasks import charge, record

pytestmark = pytest.mark.django_db


def migrate(backwards: bool, using: str = "default") -> list[object]:
    """Send the signal that `migrate` sends before it changes anything, and return who was asked."""
    config = apps.get_app_config("django_task_safety")
    first = MigrationLoader(connections["default"]).get_migration("django_task_safety", "0001_initial")
    sent = pre_migrate.send(sender=config, app_config=config, using=using, plan=[(first, backwards)])
    return [receiver for receiver, _ in sent]


def test_the_table_is_not_dropped_while_operations_are_pending():
    record.enqueue_many([("a",), ("b",)])
    charge.enqueue(1)
    with pytest.raises(OperationsPending) as refusal:
        migrate(backwards=True)
    text = str(refusal.value)
    assert "holds 3 pending operations, which would be lost" in text
    assert f"{record.name} (2 queued), {charge.name} (1 queued)" in text
    assert "task_safety drain" in text
    assert isinstance(refusal.value, TaskSafetyError)
    assert isinstance(refusal.value, CommandError)  # so that `migrate` says it without a traceback


def test_the_table_is_dropped_when_all_have_ended():
    record.enqueue("a").cancel()
    assert refuse_while_pending in migrate(backwards=True)


def test_no_other_migration_is_refused():
    record.enqueue("a")
    migrate(backwards=False)
    refuse_while_pending(apps.get_app_config("django_task_safety"), "default", plan=[])
    assert Operation.objects.count() == 1


def test_the_command_migrate_is_refused():
    record.enqueue("a")
    with pytest.raises(OperationsPending):
        call_command("migrate", "django_task_safety", "zero", stdout=io.StringIO())
    assert Operation.objects.count() == 1
