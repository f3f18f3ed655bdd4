"""A NUL or half a surrogate pair in what people look for: no database has it, and PostgreSQL refuses to be asked."""

import json

import pytest
from django.urls import reverse

from django_task_safety.models import Operation
from django_task_safety.record import State
from tests.support.commands import task_safety
from tests.support.factories import VaultFactory
from tests.support.rows import operation

pytestmark = pytest.mark.django_db

LIST = reverse("admin:django_task_safety_operation_changelist")
WORKER = "/admin/django_task_safety/worker/%00"
BAD = pytest.mark.parametrize(
    ("name", "stored"), [("a\0b", r"a\x00b"), ("a\ud800b", r"a\ud800b")], ids=["NUL", "surrogate"]
)


@pytest.mark.parametrize("page", ["", "live/"])
@pytest.mark.parametrize("parameter", ["state", "task", "queue", "model", "requested_by", "stuck", "failed", "q"])
def test_the_admins_list_filtered_by_it_is_empty(admin_client, page, parameter):
    operation(State.QUEUED)
    response = admin_client.get(f"{LIST}{page}?{parameter}=a%00b")
    assert response.status_code == 200
    assert parameter in ("q", "failed", "stuck") or not response.context["cl"].result_list


@pytest.mark.parametrize(
    "parameter", ["o", "older", "newer", "before", "page", "e", "task__exact", "worker", "id", "_to_field"]
)
def test_another_parameter_of_the_admins_list_leads_to_an_answer(admin_client, parameter):
    assert admin_client.get(f"{LIST}?{parameter}=a%00b", follow=True).status_code < 500


@pytest.mark.parametrize("page", ["change/", "history/", "delete/", ""])
@pytest.mark.parametrize("model", ["operation", "worker"])
def test_a_page_of_the_admin_about_it_is_not_found(admin_client, model, page):
    response = admin_client.get(f"/admin/django_task_safety/{model}/a%00b/{page}", follow=True)
    assert response.status_code in (200, 403, 404)


@pytest.mark.parametrize("address", ["?before=%00", "%00/", "metrics/?name[]=%00"])
def test_a_status_page_of_it_is_not_found_or_the_same_as_ever(admin_client, address):
    assert admin_client.get(f"/operations/{address}").status_code in (200, 404)


@BAD
@pytest.mark.parametrize("option", ["queue", "task", "requested-by"])
def test_the_commands_find_what_has_it_escaped(name, stored, option):
    operation(State.QUEUED)
    found = operation(State.QUEUED, **{option.replace("-", "_"): stored})
    answer = task_safety("list", "--json", f"--{option}", name)
    assert [one["id"] for one in json.loads(answer.out)["operations"]] == [str(found.pk)]


@BAD
def test_nobody_holds_a_lock_of_that_name(name, stored):
    vault = VaultFactory()
    with vault.lock():
        assert not vault.is_locked(name)


@BAD
@pytest.mark.parametrize("lookup", ["queue", "task__in", "key", "worker__gte"])
def test_a_queryset_finds_what_has_it_escaped(name, stored, lookup):
    operation(State.QUEUED)
    column, _, kind = lookup.partition("__")
    found = operation(State.QUEUED, **{column: stored})
    assert Operation.objects.get(**{lookup: [name] if kind == "in" else name}) == found
