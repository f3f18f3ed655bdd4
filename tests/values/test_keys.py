"""Keys are canonical and typed: equal work has one key, and different work never shares one."""

import inspect
import math
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_task_safety import InvalidKey, idempotent_task
from django_task_safety.models import Operation
from django_task_safety.values import keys
from tests.celery import app
from tests.testapp.models import Country, Document, Note
from tests.testapp.tasks import add


@idempotent_task
def everything(*args: object, **kwargs: object) -> None: ...


@idempotent_task(key=("a", "c"))
def several(a: int, b: int, c: object = None) -> None: ...


@idempotent_task(key="value")
def named(value: object, other: object = None) -> None: ...


@idempotent_task(key=lambda a, b: {"sum": a + b})
def computed(a: int, b: int = 1) -> None: ...


@idempotent_task(key=lambda value: value if not callable(value) else value())
def itself(value: object) -> None: ...


@idempotent_task(key=lambda note: note.title)
def by_title(note: Note) -> None: ...


@idempotent_task(key=lambda number: {1: object(), 2: math.nan, 3: 1 / (number - 3)}[number])
def hopeless(number: int) -> None: ...


def same(*calls: tuple[tuple, dict], task: Any = everything) -> bool:
    return len({task.enqueue(*args, **kwargs).pk for args, kwargs in calls}) == 1


def test_a_call_has_one_key_however_it_is_written(worker):
    assert same(((1, 2), {}), ((1,), {"b": 2}), ((), {"a": 1, "b": 2}), ((), {"b": 2, "a": 1}), task=add)


def test_defaults_of_parameters_are_part_of_a_key(worker):
    assert same(((1,), {}), ((1, 0), {}), ((), {"a": 1}), ((), {"b": 0, "a": 1}), task=add)


DISTINCT: list[object] = [
    *(None, "None", "null", True, False, 0, 1, 1.0, "1", "True", "", "a", "A", "ä", "a ", "a\x00", "\x00", "\ud800"),
    *(b"", b"1", b"a", [], {}, [[]], [1], ["1"], [1, 2], [2, 1], [[1], 2], [1, [2]], "[1]", {"1": 1}, {"a": None}),
    *(Decimal("1"), Decimal("1.1"), 1.1, "1.1", math.inf, -math.inf, 2**53, 2**53 + 1, float(2**53), -1),
    *(uuid.UUID(int=1), str(uuid.UUID(int=1)), uuid.UUID(int=1).hex),
    *(date(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1), "2026-01-01", time(0, 0)),
    *({"__model__": ["testapp.note", "1", "default", "x"]}, ["s", "a"], {"s": "a"}, "e\u0301", "\u00e9"),
]


def test_different_values_have_different_keys(worker):
    operations = [named.enqueue(value) for value in DISTINCT]
    digests = {operation.key_digest for operation in operations}
    assert len(digests) == len(DISTINCT) == Operation.objects.count()


@pytest.mark.parametrize(
    ("one", "other"),
    [((1, 2), [1, 2]), ({"a": 1, "b": 2}, {"b": 2, "a": 1}), (0.0, -0.0), (Decimal("1.0"), Decimal("1.00"))],
)
def test_values_that_are_the_same_after_the_serialiser_have_one_key(worker, one, other):
    assert same(((one,), {}), ((other,), {}))
    assert same((([one],), {}), (([other],), {}))


def test_the_worker_computes_the_same_key_as_the_caller(worker):
    for value in DISTINCT:
        named.delay(value)
    worker.drain(limit=1000)
    for value in DISTINCT:
        app.send_task(named.name, (value,), {"other": 1})
    worker.drain(limit=1000)
    assert Operation.objects.count() == len(DISTINCT)


def test_keys_of_ten_thousand_characters_differ_in_the_last_one(worker):
    long = "x" * 10_000
    assert not same(((long + "a",), {}), ((long + "b",), {}))
    assert all(len(key) <= 255 for key in Operation.objects.values_list("key", flat=True))


@pytest.mark.parametrize("value", [math.nan, [1, {"a": math.nan}], Decimal("NaN"), Decimal("sNaN")])
def test_nan_cannot_be_part_of_a_key(worker, value):
    with pytest.raises(InvalidKey, match="key"):
        named.delay(value)
    assert not Operation.objects.exists()


def test_several_parameters_make_a_key(worker):
    assert same(((1, 2), {}), ((1, 3), {}), ((1, 4, None), {}), task=several)
    assert not same(((1, 2), {}), ((1, 2, 3), {}), task=several)


def test_variable_arguments_are_part_of_the_key(worker):
    assert same(((1, 2), {"x": 1, "y": 2}), ((1, 2), {"y": 2, "x": 1}))
    assert not same(((1, 2), {}), (([1, 2],), {}))
    assert not same(((), {"kwargs": {"x": 1}}), ((), {"x": 1}))
    assert not same(((1,), {}), ((), {"args": [1]}))


def test_the_parameters_of_a_key_do_not_run_into_each_other(worker):
    assert not same((("ab", 0, "c"), {}), (("a", 0, "bc"), {}), task=several)
    assert not same((("a,b", "c"), {}), (("a", "b,c"), {}))


def test_a_key_may_be_computed_from_the_bound_arguments(worker):
    assert same(((1, 2), {}), ((2,), {}), ((), {"b": 3, "a": 0}), task=computed)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_key_function_that_fails_or_answers_nonsense_is_an_error(worker, number):
    with pytest.raises(InvalidKey):
        hopeless.delay(number)
    assert not Operation.objects.exists()


def test_the_error_of_a_key_function_is_the_cause_of_ours(worker):
    with pytest.raises(InvalidKey, match="KeyError") as caught:
        hopeless.delay(9)
    assert isinstance(caught.value.__cause__, KeyError | ZeroDivisionError)


def test_objects_are_part_of_a_key_by_their_identity(worker):
    one, two = Note.objects.create(title="same"), Note.objects.create(title="same")
    first = named.enqueue(one)
    Note.objects.update(title="changed")
    assert named.enqueue(Note.objects.get(pk=one.pk)) == first
    assert named.enqueue(two) != first
    assert named.enqueue(one.pk) != first
    assert first.key == f"testapp.note:{one.pk}"


def test_a_key_function_gets_objects_it_can_use_and_may_return_them(worker):
    document, country = Document.objects.create(title="d"), Country.objects.create(code="nl")
    assert itself.enqueue(document) == itself.enqueue(document)
    assert itself.enqueue([country, document]) != itself.enqueue([document, country])


def test_a_key_function_may_look_at_the_object(worker):
    Note.objects.bulk_create([Note(title="a"), Note(title="a"), Note(title="b")])
    operations = [by_title.enqueue(note) for note in Note.objects.order_by("pk")]
    assert operations[0] == operations[1] != operations[2]
    assert operations[0].key == "a"


def test_keys_are_namespaced_by_task(worker):
    assert named.enqueue(1).key_digest != itself.enqueue(1).key_digest


def test_the_key_column_holds_the_readable_text_of_the_key(worker):
    assert named.enqueue("order-7").key == "order-7"
    assert named.enqueue(7).key == "7"
    assert several.enqueue(1, 2, "x").key == '[1, "x"]'


@pytest.mark.parametrize("value", [timedelta(days=1), frozenset([1, 2]), {"b": {1, 2, 3}}])
def test_timedeltas_and_sets_have_a_digest_too(value):
    assert keys.digest(value) == keys.digest(value)
    assert len(keys.digest(value)) == 64


def test_the_order_of_a_set_does_not_matter_to_a_digest():
    assert keys.digest({"b", "a", 1}) == keys.digest({1, "a", "b"})
    assert keys.digest({1}) != keys.digest([1])


def test_binding_arguments_applies_defaults_and_refuses_what_does_not_fit():
    signature = inspect.signature(lambda a, b=2, *c, **d: None)
    assert keys.bind(signature, (1,), {"e": 5}) == {"a": 1, "b": 2, "c": (), "d": {"e": 5}}
    with pytest.raises(TypeError):
        keys.bind(signature, (), {"b": 1})


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
    | st.decimals(allow_nan=False, allow_infinity=False) | st.uuids() | st.dates() | st.datetimes() | st.times()
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)


def typed(value: Any) -> Any:
    """A form of the value that equals another one's only if both are the same to a reader who minds types."""
    if isinstance(value, dict):
        return ("dict", frozenset((key, typed(item)) for key, item in value.items()))
    if isinstance(value, list):
        return ("list", *map(typed, value))
    return (type(value).__name__, value)


@settings(max_examples=300, deadline=None)
@given(VALUES, VALUES)
def test_digests_are_equal_exactly_when_the_values_are(one, other):
    assert (keys.digest(one) == keys.digest(other)) == (typed(one) == typed(other))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_argument_lists_that_differ_never_share_a_digest(one, other):
    assert (keys.digest("task", one) == keys.digest("task", other)) == (one == other)
    assert keys.digest("task", *one) != keys.digest("task", one)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_the_order_of_a_dict_does_not_matter_to_a_digest(value):
    assert keys.digest(value) == keys.digest(dict(reversed(value.items())))
