"""What a test asserts of the calls that were made."""

from datetime import UTC, datetime

import pytest
from django.db import transaction

from django_task_safety import InvalidArguments
from django_task_safety.testing import assert_enqueued, refute_enqueued
from tests.support.factories import NoteFactory
from tests.testapp.tasks import charge, copy_note, plain, record

pytestmark = pytest.mark.django_db


def test_a_call_is_found_by_its_arguments_however_they_were_passed():
    operation = charge.enqueue(7, amount=5)
    assert assert_enqueued(charge, number=7, amount=5) == [operation]
    assert assert_enqueued(charge, amount=5) == [operation]
    assert assert_enqueued(charge) == [operation]


def test_defaults_are_arguments():
    charge.enqueue(7)
    assert_enqueued(charge, amount=1)


def test_an_object_is_compared_by_identity():
    note, other = NoteFactory(), NoteFactory()
    copy_note.delay(note, 3)
    assert_enqueued(copy_note, note=note, copies=3)
    assert_enqueued(copy_note, subject=note)
    refute_enqueued(copy_note, note=other)
    refute_enqueued(copy_note, subject=other)


def test_a_value_that_serialising_changes_is_compared_as_it_arrives():
    record.delay("a", (1, datetime(2026, 1, 1, tzinfo=UTC)))
    assert_enqueued(record, key=(1, datetime(2026, 1, 1, tzinfo=UTC)))


def test_a_key_finds_it():
    charge.delay(7)
    assert_enqueued(charge, key=7)
    refute_enqueued(charge, key=8)


def test_a_parameter_of_the_task_that_is_called_key_is_an_argument():
    record.delay("a", key="b")
    assert_enqueued(record, name="a", key="b")
    refute_enqueued(record, key="c")


def test_what_has_ended_counts_as_well(task_safety):
    record.delay("a")
    task_safety.drain()
    assert_enqueued(record, name="a")


def test_several_are_counted():
    for _ in range(2):
        record.delay("a")
    assert len(assert_enqueued(record, name="a", count=2)) == 2
    with pytest.raises(AssertionError, match=r"expected one .*record.*found 2"):
        assert_enqueued(record, name="a")


def test_a_failure_shows_what_was_called_instead():
    charge.delay(7, amount=3)
    with pytest.raises(AssertionError) as failure:
        assert_enqueued(charge, number=7, amount=5)
    assert str(failure.value).splitlines() == [
        "expected one tests.testapp.tasks.charge(number=7, amount=5), found 0.",
        "There are:",
        "  tests.testapp.tasks.charge(number=7, amount=3): queued, key 7",
    ]


def test_a_failure_says_that_there_was_no_call():
    with pytest.raises(AssertionError, match="not called at all"):
        assert_enqueued(charge)


def test_a_refuted_call_that_is_there_is_shown():
    record.delay("a")
    with pytest.raises(
        AssertionError, match=r"expected no .*record\(name='a'\).\nThere are:\n.*record\(name='a', key=''\)"
    ):
        refute_enqueued(record, name="a")


def test_many_others_are_not_all_shown():
    for n in range(12):
        charge.delay(n)
    with pytest.raises(AssertionError, match="and 2 more"):
        assert_enqueued(charge, number=99)


def test_a_call_that_waits_for_the_commit_of_the_tests_transaction_is_hinted_at(task_safety):
    transaction.on_commit(lambda: charge.delay(1))
    with pytest.raises(AssertionError, match=r"1 hooks of on_commit\(\) wait.*drain\(\) calls them"):
        assert_enqueued(charge, number=1)
    task_safety.drain()
    assert_enqueued(charge, number=1)


@pytest.mark.parametrize("check", [assert_enqueued, refute_enqueued])
def test_a_parameter_that_the_task_does_not_have_is_a_mistake(check):
    with pytest.raises(InvalidArguments, match="has no parameter amont; it has number, amount"):
        check(charge, amont=5)


def test_a_plain_task_leaves_nothing_to_look_at():
    with pytest.raises(InvalidArguments, match="no safe task"):
        assert_enqueued(plain)
