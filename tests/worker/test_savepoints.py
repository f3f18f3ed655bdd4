"""The body's own `atomic()` blocks mean what they mean anywhere, also where they cost nothing."""

from collections.abc import Callable

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from django_task_safety import safe_task
from tests.testapp.models import Effect
from tests.testapp.tasks import effect

#: What the body of `does` does.
DO: list[Callable[[], object]] = []


@safe_task(max_retries=0)
def does() -> None:
    DO[0]()


@pytest.fixture
def run(worker, monkeypatch):
    """Have a worker run the body, and return the names of the effects that it left."""

    def run(body: Callable[[], object]) -> list[str]:
        monkeypatch.setattr("tests.worker.test_savepoints.DO", [body])
        does.delay()
        assert worker.deliver_one().state == "SUCCESS"
        return sorted(Effect.objects.values_list("name", flat=True))

    return run


@transaction.atomic
def write(name: str) -> None:
    effect(name)


@transaction.atomic
def write_and_fail(name: str) -> None:
    effect(name)
    raise ValueError(name)


def fails(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        write_and_fail(name)


def savepoints(captured: CaptureQueriesContext) -> int:
    """Return how many statements were about savepoints."""
    words = ("SAVEPOINT", "RELEASE SAVEPOINT", "ROLLBACK TO SAVEPOINT")
    return sum(query["sql"].startswith(words) for query in captured.captured_queries)


def test_a_body_that_is_one_atomic_block_needs_no_savepoint(run):
    with CaptureQueriesContext(connection) as captured:
        assert run(lambda: write("a")) == ["a"]
    assert savepoints(captured) == (0 if connection.vendor == "postgresql" else 2)


def test_a_first_block_that_fails_is_undone_and_the_body_goes_on(run):
    assert run(lambda: (fails("a"), effect("b"), fails("c"), write("d"))) == ["b", "d"]


def test_a_later_block_that_fails_leaves_what_was_written_before_it(run):
    assert run(lambda: (effect("a"), fails("b"), write("c"))) == ["a", "c"]


def test_what_is_around_a_block_that_fails_is_kept_or_undone_with_its_own_block(run):
    @transaction.atomic
    def around() -> None:
        fails("a")
        write("b")
        fails("c")

    @transaction.atomic
    def around_and_fail() -> None:
        write("d")
        fails("e")
        raise ValueError("d")

    def body() -> None:
        around()
        with pytest.raises(ValueError, match="d"):
            around_and_fail()

    assert run(body) == ["b"]


def test_what_waits_for_the_commit_is_forgotten_with_its_block(run):
    heard: list[str] = []

    @transaction.atomic
    def hears(name: str, problem: bool) -> None:
        transaction.on_commit(lambda: heard.append(name))
        effect(name)
        if problem:
            raise ValueError(name)

    def body() -> None:
        with pytest.raises(ValueError, match="a"):
            hears("a", True)
        hears("b", False)

    assert run(body) == ["b"]
    assert heard == ["b"]


def test_the_connection_sets_savepoints_as_ever_when_the_body_is_done(run):
    run(lambda: write("a"))
    with CaptureQueriesContext(connection) as captured, transaction.atomic():
        fails("b")
    assert savepoints(captured) == 3
