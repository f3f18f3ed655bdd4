"""Querysets that yield objects of several classes, as select_subclasses() and polymorphic models do."""

from collections.abc import Callable
from types import new_class
from typing import Any

import pytest
from django.db import connection
from django.db.models import ProtectedError, RestrictedError
from django.test.utils import CaptureQueriesContext
from model_utils.managers import InheritanceQuerySet

from django_task_safety import PROTECT, ObjectLocked, safe_task
from django_task_safety.managers import SoftDeleteQuerySet
from django_task_safety.models import Operation
from tests.notesapp.models import Appendix, Approval, Clause, Copy, Note, Notebook, Report
from tests.notesapp.ways import is_removed, note
from tests.support.operations import state

pytestmark = pytest.mark.django_db(transaction=True)
Mixed: Any = new_class("Mixed", (SoftDeleteQuerySet, InheritanceQuerySet))


@safe_task(on_delete=PROTECT)
def protects_one_of_several(note: Any) -> None: ...


@safe_task
def goes_with_one_of_several(note: Any) -> None: ...


def soft() -> Any:
    return Mixed(Note).select_subclasses().filter(is_removed=False).order_by("pk").delete()


def hard() -> Any:
    return Mixed(Note).select_subclasses().order_by("pk").hard_delete()


Way = Callable[[], Any]
every_way = pytest.mark.parametrize("delete", [soft, hard])


@pytest.fixture
def both() -> tuple[Note, Report]:
    return note(), Report.objects.create(title="b")


@every_way
def test_what_hangs_on_each_class_goes_along(delete: Way, both: Any):
    Copy.objects.create(note=both[0])
    Copy.objects.create(note=both[1])
    Appendix.objects.create(report=both[1])
    operations = [goes_with_one_of_several.enqueue(one) for one in both]
    counted = {"notesapp.Note": 2, "notesapp.Report": 1, "notesapp.Copy": 2, "notesapp.Appendix": 1}
    assert delete() == (6, counted)
    for model in (Note, Report, Copy, Appendix):
        assert not model.objects.exists()
    assert [state(operation) for operation in operations] == [Operation.State.CANCELLED] * 2


def test_what_went_with_each_class_is_restored(both: Any):
    Copy.objects.create(note=both[0])
    Appendix.objects.create(report=both[1])
    soft()
    assert Mixed(Note).select_subclasses().order_by("pk").restore()[0] == 5
    assert Appendix.objects.exists()
    assert not is_removed(both[1])


@every_way
def test_a_child_of_the_second_class_protects(delete: Way, both: Any):
    Approval.objects.create(report=both[1])
    with pytest.raises(ProtectedError):
        delete()
    assert not any(map(is_removed, both))


@every_way
def test_an_operation_on_the_second_class_protects(delete: Way, both: Any):
    operation = protects_one_of_several.enqueue(both[1])
    with pytest.raises(ObjectLocked) as refusal:
        delete()
    assert refusal.value.operation == operation
    assert not any(map(is_removed, both))


@every_way
def test_a_child_that_restricts_one_class_refuses(delete: Way, both: Any):
    Clause.objects.create(note=both[0], notebook=Notebook.objects.create(title="n"))
    with pytest.raises(RestrictedError):
        delete()
    assert not any(map(is_removed, both))


def test_the_statements_do_not_grow_with_the_objects_of_several_classes():
    def statements(each: int) -> int:
        for _ in range(each):
            note()
            Report.objects.create(title="b")
        with CaptureQueriesContext(connection) as queries:
            assert soft()[0] == 3 * each
        return len(queries)

    statements(1)  # which also fetches the content types
    assert statements(2) == statements(20)
