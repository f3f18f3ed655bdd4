"""Objects that are gone when their task runs, and dicts that only look like objects."""

import json

import pytest

from django_task_safety import safe_task
from django_task_safety.models import Operation
from tests.support.factories import NoteFactory
from tests.support.ids import label
from tests.support.operations import only
from tests.testapp.models import Note

State = Operation.State

received: list[object] = []


@safe_task
def arrive(value: object, *more: object, **named: object) -> None:
    received.append(value)
    received.extend(more)
    received.extend(named.values())


@safe_task(subject="target")
def move(source: Note, target: Note | None = None) -> None:
    received.append((source, target))


@pytest.fixture(autouse=True)
def _nothing_received():
    received.clear()


def note(title: str = "a") -> Note:
    return NoteFactory(title=title)


def vanish(*objects: object) -> None:
    """Take rows away as another system does, without Django noticing."""
    for obj in objects:
        type(obj)._base_manager.filter(pk=obj.pk)._raw_delete("default")


def test_a_task_whose_object_is_gone_ends_as_cancelled_with_the_reason(worker):
    given = note()
    result = arrive.delay(given)
    vanish(given)
    delivery = worker.deliver_one()
    assert delivery.state == "IGNORED"
    assert delivery.acknowledged
    assert only().state == State.CANCELLED
    assert f"testapp.note {given.pk}" in only().error
    assert received == []
    assert result.state == "REVOKED"


def test_an_object_that_is_gone_cancels_its_task_though_it_is_not_the_subject(worker):
    source, target = note("source"), note("target")
    move.delay(source, target)
    vanish(source)
    worker.drain()
    assert only().state == State.CANCELLED
    assert f"{source.pk}" in only().error
    assert received == []


def test_one_of_many_nested_objects_that_is_gone_cancels_the_task(worker):
    first, second = note(), note()
    arrive.delay([first, {"deep": second}])
    vanish(second)
    worker.drain()
    assert only().state == State.CANCELLED


def test_a_gone_object_is_not_an_exception_to_a_chain(worker):
    given = note()
    (arrive.si(given) | arrive.si("next")).delay()
    vanish(given)
    worker.drain()
    assert received == []
    assert not Operation.objects.pending().exists()
    assert not Operation.objects.filter(state=State.FAILED).exists()


FORGED = [
    {"__model__": ["testapp.note", "1", "default", "signature"]},
    {"__model__": ["testapp.note", "1", "default"]},
    {"__model__": ["testapp.note", "1", "default", ""]},
    {"__model__": "testapp.note:1"},
    {"__model__": ["auth.user", "1", "default", None]},
    {"__model__": [1, 2, 3, 4]},
    {"__model__": None, "other": 1},
    {"__model__": {"__model__": []}},
]


@pytest.mark.parametrize("forged", FORGED, ids=label)
def test_a_dict_that_looks_like_a_reference_stays_the_data_that_it_is(worker, forged):
    NoteFactory(pk=1)
    arrive.delay(forged, [forged])
    worker.drain()
    assert received == [forged, [forged]]
    assert only().subject is None


def test_the_signature_of_one_object_is_no_good_for_another(worker):
    one, two = note(), note()
    reference = stored(arrive.enqueue(one))
    worker.take()
    reference["__model__"][1] = str(two.pk)
    arrive.delay(reference)
    worker.drain()
    assert received == [reference]


def stored(operation: Operation) -> dict:
    """The operation's first argument as it is stored."""
    return json.loads(operation.payload)[0][0]


def test_a_reference_may_be_passed_on_as_it_came(worker):
    given = note()
    arrive.delay(given)
    reference = stored(only())
    Operation.all_rows.all().delete()
    worker.take()
    arrive.delay(reference)
    worker.drain()
    assert received == [given]
