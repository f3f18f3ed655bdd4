"""A primary key that is passed for an object is that object's whole key, also where a collation finds more by it."""

import pytest

from django_task_safety import PROTECT, ObjectGone, ObjectLocked, idempotent_task, requested_by, safe_task
from django_task_safety.models import Operation
from tests.support.operations import state
from tests.testapp.models import City

State = Operation.State
pytestmark = pytest.mark.django_db(transaction=True)
NEARLY = ["ABC", "ábc", "abc "]
received: list[object] = []


@safe_task(on_delete=PROTECT)
def protects(city: City) -> None:
    received.append(city.pk)


@idempotent_task
def once(city: City) -> None:
    received.append(city.pk)


@safe_task
def of_several(cities: list[City]) -> None:
    received.append([city.pk for city in cities])


@pytest.fixture(autouse=True)
def city():
    received.clear()
    return City.objects.create(code="abc")


@pytest.mark.parametrize("key", NEARLY)
def test_a_key_that_is_nearly_an_objects_is_no_key_of_it(city, key):
    with pytest.raises(ObjectGone, match=f"testapp.city {key}"):
        protects.enqueue(key)
    assert not Operation.objects.exists()
    protects.enqueue(city.pk)
    with pytest.raises(ObjectLocked):
        city.delete()


@pytest.mark.parametrize("key", NEARLY)
def test_a_message_with_a_key_that_is_nearly_an_objects_runs_nothing(worker, key):
    once.enqueue("abc")
    worker.app.send_task(once.name, [key])
    worker.drain()
    assert received == ["abc"]
    assert set(Operation.objects.values_list("state", flat=True)) == {State.SUCCEEDED, State.CANCELLED}


@pytest.mark.parametrize("key", NEARLY)
def test_a_list_with_a_key_that_is_nearly_an_objects_is_not_run(worker, key):
    operation = of_several.enqueue(["abc", key])
    worker.drain()
    assert state(operation) == State.CANCELLED
    assert f"testapp.city {key} does not exist" in Operation.objects.get().error
    assert not received


@pytest.mark.parametrize("column", ["task", "queue", "requested_by", "worker", "key"])
def test_names_that_are_nearly_equal_are_told_apart_where_they_are_looked_for(city, column):
    operations = {}
    for name in ("abc", *NEARLY):
        operations[name] = protects.enqueue(city)
        Operation.objects.filter(pk=operations[name].pk).update(**{column: name})
    assert {name: list(Operation.objects.filter(**{column: name})) for name in operations} == {
        name: [one] for name, one in operations.items()
    }


def test_nobody_sees_the_operations_of_somebody_whose_key_is_nearly_the_same(city):
    with requested_by("abc"):
        operation = protects.enqueue(city)
    assert [list(Operation.objects.requested_by(name)) for name in ("abc", *NEARLY)] == [[operation], [], [], []]
