"""`assert_idempotent` finds what a second delivery or a second call does, and nothing else."""

import gc

import pytest
from django.core import mail
from django.core.cache import cache
from django.db import connection

from django_task_safety import InvalidArguments
from django_task_safety.testing import CleanRunFailed, NotIdempotent, assert_idempotent
from tests.testapp.models import Effect, Order
from tests.testapp.tasks import act, plain
from tests.testing import repeated_tasks as tasks

pytestmark = [
    pytest.mark.usefixtures("other_system"),
    pytest.mark.django_db(databases=["default", "other"]),
]


def named(task):
    return task.name.rpartition(".")[2]


@pytest.fixture(autouse=True)
def _an_order():
    cache.clear()
    connection.ensure_connection()
    # A key that no sequence comes to.
    Order.objects.create(pk=1_000_000, number=7, amount=250)
    for n in range(4):
        Effect.objects.create(name="old", key=f"old {n}")
    yield
    cache.clear()


@pytest.mark.parametrize("task", tasks.FAULTY, ids=named)
def test_what_a_repetition_changes_is_found(task):
    with pytest.raises(NotIdempotent) as failure:
        assert_idempotent(task, 7)
    assert tasks.FAULTY[task] in str(failure.value)


def test_messages_are_found_also_after_what_has_watched_before_is_gone():
    for _ in range(3):
        with pytest.raises(NotIdempotent, match="message: "):
            assert_idempotent(tasks.publishes, 7)
        gc.collect()


@pytest.mark.parametrize("task", tasks.CORRECT, ids=named)
def test_a_task_that_may_be_repeated_passes(task):
    assert_idempotent(task, 7)


def test_what_is_said():
    with pytest.raises(NotIdempotent) as failure:
        assert_idempotent(tasks.increments, 7)
    assert str(failure.value).splitlines() == [
        "tests.testing.repeated_tasks.increments, delivered again under the same id, changes:",
        "  ~ testapp_order 1000000: charged 250 -> 500",
    ]


def test_a_safe_task_without_a_key_does_its_work_for_each_call():
    with pytest.raises(NotIdempotent, match="called again under another id"):
        assert_idempotent(tasks.increments_for_each_call, 7)


def test_a_callable_without_arguments_is_called_again():
    with pytest.raises(NotIdempotent, match=r"\+ testapp_effect"):
        assert_idempotent(lambda: Effect.objects.create(name="a", key="b"))
    assert_idempotent(lambda: Effect.objects.filter(key="b").update(name="c"))


def test_a_clean_run_that_fails_is_said_to_be_one():
    with pytest.raises(CleanRunFailed, match=r"act fails already when it runs for the first time.*failed.*no"):
        assert_idempotent(act, "raise")
    with pytest.raises(CleanRunFailed, match="ZeroDivisionError"):
        assert_idempotent(lambda: 1 / 0)


def test_what_cannot_be_called_is_a_mistake():
    with pytest.raises(InvalidArguments, match="neither a task nor a callable"):
        assert_idempotent(7)


def test_a_database_that_is_no_test_database_is_refused(monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "NAME", "/srv/shop.sqlite3")
    monkeypatch.setitem(connection.settings_dict, "TEST", {"NAME": None})
    with pytest.raises(InvalidArguments, match="not a test database"):
        assert_idempotent(plain, 7)


@pytest.mark.django_db(databases=["default"])
def test_a_database_that_the_test_may_not_use_is_left_out():
    assert_idempotent(tasks.sets, 7)


def test_mails_stay_where_a_test_looks_for_them():
    outbox = mail.outbox
    assert_idempotent(tasks.charges_under_its_key, 7)
    assert mail.outbox is outbox
    assert [message.subject for message in outbox] == ["Charged"]


def test_djangos_tasks_are_tried_as_well():
    django_tasks = pytest.importorskip("tests.testapp.django_tasks", reason="there are no Tasks", exc_type=ImportError)
    with pytest.raises(NotIdempotent, match=r"called again.*\n.*testapp_effect"):
        assert_idempotent(django_tasks.add, 1, 2)
    assert_idempotent(django_tasks.charge, 5)
