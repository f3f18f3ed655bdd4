"""Ids are valid, distinct, and grow with time."""

import time
import uuid

from django_task_safety import ids


def test_an_id_is_a_uuid_of_version_7():
    found = ids.new()
    assert (found.version, found.variant) == (7, uuid.RFC_4122)
    assert abs((found.int >> 80) / 1000 - time.time()) < 5


def test_ids_that_are_made_one_after_another_are_in_order():
    made = []
    for _ in range(100):
        made.append(ids.new())
        time.sleep(1e-6)
    assert made == sorted(made)


def test_ids_grow_with_time_and_are_distinct():
    first = ids.new()
    many = {ids.new() for _ in range(10_000)}
    assert len(many) == 10_000
    assert all(one.int >> 80 >= first.int >> 80 for one in many)
