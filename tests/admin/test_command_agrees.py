"""The admin's filters and search find what the command's options find."""

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from django_task_safety import idempotent_task
from django_task_safety.models import Operation
from django_task_safety.record import State
from tests.support.commands import task_safety
from tests.support.factories import NoteFactory
from tests.support.rows import operation
from tests.testapp.tasks import charge, record


@idempotent_task(key="key")
def charge_once(key: str) -> None: ...


pytestmark = pytest.mark.django_db
LIST = reverse("admin:django_task_safety_operation_changelist")
HOUR, DAY = 3600.0, 86_400.0

#: The admin's query string, and the command's options.
ALIKE = {
    "queued": ("?state=queued", "--state queued"),
    "running": ("?state=running", "--state running"),
    "succeeded": ("?state=succeeded", "--state succeeded"),
    "failed": ("?state=failed", "--state failed"),
    "cancelled": ("?state=cancelled", "--state cancelled"),
    "of a task": (f"?task={charge.name}", f"--task {charge.name}"),
    "of a task and failed": (f"?task={charge.name}&state=failed", f"--task {charge.name} --state failed"),
    "of a queue": ("?queue=slow", "--queue slow"),
    "about an object": ("?q=testapp.note:{note}", "--object testapp.note:{note}"),
    "about a model": ("?model=testapp.note", "--object testapp.note"),
    "by a user": ("?requested_by={user}", "--requested-by {user}"),
    "with a key": ("?q=a-key", "--key a-key"),
    "stuck": ("?stuck=yes", "--stuck"),
    "failed in the last hour": ("?failed=hour", "--state failed --ended-within 1h"),
    "failed in the last day": ("?failed=day", "--state failed --ended-within 1d"),
}


@pytest.fixture
def named() -> dict[str, str]:
    """Operations of every kind, and what they are about."""
    note, user = NoteFactory(), User.objects.create_user("asked")
    about = {"subject_label": "testapp.note", "subject_id": str(note.pk), "subject_database": "default"}
    other = {**about, "subject_id": "0"}
    for state in State.values:
        for task in (record.name, charge.name):
            for age in (60.0, 2 * HOUR, 2 * DAY):
                operation(state, age, task=task)
        operation(state, queue="slow", **about)
        operation(state, requested_by=str(user.pk), **other)
    for key in ("a-key", "another"):
        charge_once.enqueue(key)
    return {"note": str(note.pk), "user": str(user.pk)}


@pytest.mark.parametrize(("query", "options"), ALIKE.values(), ids=ALIKE)
def test_a_filter_finds_in_the_admin_what_its_option_finds_in_the_command(admin_client, named, query, options):
    shown = admin_client.get(LIST + query.format(**named)).context["cl"].result_list
    listed = task_safety("list", "--json", "--limit", 1000, *options.format(**named).split())
    found = {row["id"] for row in listed.json["operations"]}
    assert 0 < len(found) < Operation.objects.count()
    assert {str(row.pk) for row in shown} == found
