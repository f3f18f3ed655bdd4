"""What an attempt ends with is recorded, whatever it says: texts that cannot be taken, stored, or sent."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery.exceptions import Ignore
from django.db import DataError, OperationalError, connection

from django_task_safety import ObjectGone, current_operation, idempotent_task, ledger, safe_task
from django_task_safety.models import Operation
from django_task_safety.values import codec
from django_task_safety.worker import sweeper
from tests.support.operations import only
from tests.testapp.models import Effect
from tests.testapp.tasks import effect, record

State = Operation.State

EMOJI = "\N{PARTY POPPER}"
RAISE: list[Callable[[], BaseException]] = []


class WithoutMessage(Exception):
    @property
    def message(self) -> str:
        return self.args[1]


class WithoutText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class GoneWithoutText(ObjectGone):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class IgnoreWithoutText(Ignore):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@safe_task(bind=True, max_retries=1)
def raises(self: Any, retried: bool = False) -> None:
    effect("raises")
    exc = RAISE[0]()
    if retried:
        raise self.retry(exc=exc, countdown=0)
    raise exc


@safe_task
def tells(message: str) -> None:
    effect("tells")
    current_operation().report(1, 2, message)


@safe_task(title="{name}")
def titled(name: str) -> None: ...


@idempotent_task(key="number", title="{name}", on_duplicate="replace")
def titled_once(number: int, name: str) -> None: ...


@pytest.fixture
def raise_this(monkeypatch) -> Callable[[Callable[[], BaseException]], None]:
    return lambda make: monkeypatch.setattr("tests.worker.test_recorded_texts.RAISE", [make])


@pytest.fixture
def latin1() -> Iterator[None]:
    """The texts of a row take Latin-1 only: MariaDB itself says so, for the others something between."""
    if connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute(_modified("CHARACTER SET latin1"))
        yield
        with connection.cursor() as cursor:
            cursor.execute(_modified(""))
        return

    def refuse(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if any(isinstance(param, str) and not _fits(param) for param in params or ()):
            if connection.vendor == "postgresql":
                execute("SELECT 1 / 0", (), many, context)  # a refused statement spoils its transaction
            raise DataError("character has no equivalent in encoding LATIN1")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(refuse):
        yield


def _modified(charset: str) -> str:
    table = connection.ops.quote_name(Operation._meta.db_table)
    types = {"error": "LONGTEXT", "traceback": "LONGTEXT", "title": "VARCHAR(255)", "progress_message": "VARCHAR(255)"}
    changes = ", ".join(f"MODIFY {name} {kind} {charset} NOT NULL" for name, kind in types.items())
    return f"ALTER TABLE {table} {changes}"


def _fits(text: str) -> bool:
    return text == text.encode("latin-1", "ignore").decode("latin-1")


@pytest.mark.parametrize("make", [lambda: WithoutMessage("one"), WithoutText], ids=["message", "str"])
@pytest.mark.parametrize("retried", [False, True])
def test_an_exception_whose_text_cannot_be_taken_ends_its_operation(worker, raise_this, make, retried):
    raise_this(make)
    result = raises.delay(retried)
    worker.drain()
    assert (only().state, only().attempt) == (State.FAILED, 1 + retried)
    assert only().error.startswith(make().__class__.__name__)
    assert "in raises" in only().traceback
    assert result.state == "FAILURE"


@pytest.mark.parametrize(
    ("make", "kept"), [(lambda: GoneWithoutText("it"), 0), (IgnoreWithoutText, 1)], ids=["gone", "ignore"]
)
def test_what_cancels_its_operation_needs_no_text(worker, raise_this, make, kept):
    raise_this(make)
    raises.delay()
    worker.drain()
    assert only().state == State.CANCELLED
    assert "no text" in only().error
    assert Effect.objects.count() == kept


@pytest.mark.parametrize("retried", [False, True])
def test_an_error_text_that_the_character_set_refuses_is_escaped(worker, raise_this, latin1, retried):
    raise_this(lambda: ValueError(f"bad {EMOJI}"))
    raises.delay(retried)
    worker.drain()
    assert (only().state, only().attempt) == (State.FAILED, 1 + retried)
    assert only().error == r"ValueError: bad \U0001f389"
    assert r"bad \U0001f389" in only().traceback


def test_what_a_body_wrote_is_kept_past_a_reason_that_the_character_set_refuses(worker, raise_this, latin1):
    raise_this(lambda: Ignore(EMOJI))
    raises.delay()
    worker.drain()
    assert (only().state, only().error) == (State.CANCELLED, r"Ignored: \U0001f389")
    assert Effect.objects.count() == 1


def test_what_the_character_set_takes_stays_as_it_is(worker, raise_this, latin1):
    raise_this(lambda: ValueError("zu groß"))
    raises.delay()
    worker.drain()
    assert only().error == "ValueError: zu groß"


def test_an_operation_is_cancelled_for_a_reason_that_the_character_set_refuses(worker, latin1):
    assert record.enqueue("a").cancel(EMOJI)
    assert (only().state, only().error) == (State.CANCELLED, r"\U0001f389")


def test_an_operation_is_taken_back_for_a_reason_that_the_character_set_refuses(worker, latin1, monkeypatch):
    operation = record.enqueue("a")
    ledger.claim(operation.pk, "dies", 30, None)
    worker.pass_time(31)
    rescue = ledger.rescue
    monkeypatch.setattr(ledger, "rescue", lambda found, error: rescue(found, EMOJI))
    assert sweeper.sweep().requeued == 1
    assert only().error == r"\U0001f389"


def test_another_error_of_the_database_is_not_taken_for_a_refusal(worker):
    operation = record.enqueue("a")
    with broken(), pytest.raises(OperationalError, match="gone away"):
        operation.cancel(EMOJI)
    assert only().state == State.QUEUED


@contextmanager
def broken() -> Iterator[None]:
    def refuse(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        raise OperationalError("the server has gone away")

    with connection.execute_wrapper(refuse):
        yield


def test_of_a_text_that_is_too_long_the_beginning_is_recorded(worker, raise_this):
    raise_this(lambda: ValueError("x" * 20_000_000))
    result = raises.delay()
    worker.drain()
    assert (only().state, only().attempt) == (State.FAILED, 1)
    assert len(only().error) <= codec.LONGEST_TEXT + len("ValueError: ")
    assert len(only().traceback) <= codec.LONGEST_TEXT
    assert result.state == "FAILURE"


def _skip_where_all_letters_are_there() -> None:
    """Of texts that are written on a connection of their own, or for which no savepoint is spent."""
    if connection.vendor == "postgresql":
        pytest.skip("Django takes a database of PostgreSQL's to be in UTF-8")


@pytest.mark.parametrize(
    ("message", "kept"),
    [(f"a {EMOJI}", r"a \U0001f389"), ("x" * 300, "x" * 254)],
    ids=["letter", "long"],
)
def test_progress_that_the_character_set_refuses_is_escaped(worker, latin1, message, kept):
    _skip_where_all_letters_are_there()
    tells.delay(message)
    worker.drain()
    # MariaDB's Latin-1 has the ellipsis at the end of what is cut off.
    assert (only().state, only().error, only().progress_message[:254]) == (State.SUCCEEDED, "", kept)
    assert Effect.objects.count() == 1


def test_a_title_that_the_character_set_refuses_is_escaped(worker, latin1):
    _skip_where_all_letters_are_there()
    operations = [titled.enqueue(f"a {EMOJI}"), *titled.enqueue_many([(f"b {EMOJI}",), ("c",)])]
    assert [operation.title for operation in operations] == [r"a \U0001f389", r"b \U0001f389", "c"]
    assert set(Operation.objects.values_list("title", flat=True)) == {operation.title for operation in operations}


def test_a_newer_title_that_the_character_set_refuses_is_escaped(worker, latin1):
    titled_once.enqueue(1, "a")
    titled_once.enqueue(1, EMOJI * 100)
    assert only().title == (r"\U0001f389" * 100)[:255]
