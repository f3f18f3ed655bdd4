"""What varies between two right runs is masked value by value; what stays the same beside it is compared."""

from datetime import UTC, datetime

import pytest

from django_task_safety.testing.effects import Effect
from django_task_safety.testing.outcome import Mask, Outcome, differences
from django_task_safety.testing.varying import Variants, is_of_next_attempt

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def variants(*pairs):
    found = Variants()
    for one, other in pairs:
        found.add(one, other)
    return found


@pytest.mark.parametrize(
    ("one", "other", "third", "shown"),
    [
        ("INV-17 of 250", "INV-1017 of 250", "INV-2 of 250", "INV-* of 250"),
        ("at 2030-01-01 10:59:59.5", "at 2030-01-01 11:00:00", "at 2031-02-03T04:05:06Z", "at *"),
        (b"id 01890000-0000-7000", b"id 01890000-0000-7001", b"id 01890000-0000-7002", "id *"),
        ("kiwi", "melon", "plum", "*"),
        (NOW, NOW.replace(year=2031), NOW.replace(year=2032), "*"),
        (None, 7, 8, "*"),
        (["a", 17], ["a", 18], ["a", 3], "['a', *]"),
        (
            {"at": "10:59", "sum": 250},
            {"at": "11:00", "sum": 250},
            {"at": "11:01", "sum": 250},
            "[['at', *], ('sum', 250)]",
        ),
        ([1], [1, 2], [1, 2, 3], "*"),
    ],
)
def test_values_alike_are_one_pattern(one, other, third, shown):
    patterns = {str(variants((one, other)).of(value)) for value in (one, other, third)}
    assert patterns == {shown}


@pytest.mark.parametrize(
    ("one", "other", "third"),
    [
        ("INV-17 of 250", "INV-1017 of 250", "INV-17 of 500"),
        (NOW, NOW.replace(year=2031), None),
        (1, 2, "3"),
        ([NOW], [NOW.replace(year=2031)], [NOW, NOW]),
        (["a", 17], ["a", 18], ["b", 17]),
        ({"at": 17}, {"at": 18}, {"in": 17}),
    ],
)
def test_a_value_that_is_not_alike_stays(one, other, third):
    assert variants((one, other)).of(third) is third


@pytest.mark.parametrize(
    ("one", "other", "is_it"),
    [
        (1, 2, True),
        (250, 500, False),
        ("7-1", "7-1", False),
        ("7-1", "7-2", True),
        ("7-1", "8-1", False),
        ("attempt 1 at 10:59:59", "attempt 2 at 11:00:00", True),
        (None, 2, False),
        ([1], [2], False),
    ],
)
def test_the_number_of_the_next_attempt_is_known(one, other, is_it):
    assert is_of_next_attempt(one, other) is is_it


def outcome(*rows, calls=()):
    table = {(row["id"],): row for row in rows}
    return Outcome({"shop_order": table}, [Effect("mail", text) for text in calls], "1 succeeded")


def test_only_the_row_that_varies_is_masked():
    first = outcome({"id": 1, "note": "id 17"}, {"id": 2, "note": "id 18"})
    second = outcome({"id": 1, "note": "id 1017"}, {"id": 2, "note": "id 18"})
    actual = outcome({"id": 1, "note": "id 3"}, {"id": 2, "note": "id 19"})
    mask = Mask(first, second)
    assert list(mask) == ["shop_order.note"]
    assert list(differences(first, actual, mask)) == ["~ shop_order 2: note 'id 18' -> 'id 19'"]


def test_added_rows_are_compared_without_their_keys():
    first, second = outcome({"id": 1, "amount": 250}), outcome({"id": 1001, "amount": 250})
    mask = Mask(first, second)
    assert list(differences(first, outcome({"id": 7, "amount": 250}), mask)) == []
    assert list(differences(first, outcome({"id": 7, "amount": 500}), mask)) == [
        "- shop_order: id=*, amount=250",
        "+ shop_order: id=*, amount=500",
    ]


def test_a_call_is_masked_by_itself():
    first, second = outcome(calls=["order 17", "order 8"]), outcome(calls=["order 1017", "order 8"])
    mask = Mask(first, second)
    assert list(differences(first, outcome(calls=["order 3", "order 8"]), mask)) == []
    assert list(differences(first, outcome(calls=["order 3", "order 3"]), mask)) == [
        "- mail: order 8",
        "+ mail: order *",
    ]
