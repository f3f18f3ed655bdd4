"""Parameters whose values nobody is to read: in keys, messages' headers, logs and what is kept of exceptions."""

import json
import logging
import re
import uuid
from urllib.parse import quote

import pytest

from django_task_safety import InvalidArguments, InvalidOption, KeyReused, idempotent_task, ledger, safe_task
from django_task_safety.conf import InvalidSetting, load
from django_task_safety.models import Operation
from django_task_safety.producer.redaction import hides
from django_task_safety.producer.row_backend import handle
from django_task_safety.worker import sweeper
from tests.celery import app
from tests.support.delivering import statements
from tests.support.factories import NoteFactory
from tests.testapp.models import Note

SECRET = "hunter2 says 'a/b'"
State = Operation.State


def spill(user: str, password: object) -> None:
    """Say a value in every way that a library may."""
    inner = ValueError(f"{password!r} of {user}", password, {"given": [password]})
    inner.add_note(f"https://example.com/?p={quote(str(password), safe='')}")
    try:
        raise inner
    except ValueError as exc:
        raise RuntimeError(f"login of {user} with {password}: {json.dumps(str(password))}") from exc


@idempotent_task(max_retries=0)
def reset(user: str, password: object) -> None:
    spill(user, password)


@safe_task(max_retries=0, redact=["iban"])
def pay(user: str, iban: object, *more: object, **named: object) -> None:
    spill(user, iban)


@safe_task(max_retries=1, retry_on=RuntimeError, retry_backoff=0.01)
def retried(user: str, password: object) -> None:
    spill(user, password)


@idempotent_task(key=("user", "api_token"))
def by_names(user: str, api_token: str) -> None: ...


@idempotent_task(key="api_token", match="user")
def by_name(user: str, api_token: str) -> None: ...


@idempotent_task(key=lambda api_token, **_: {"t": api_token, "api_token": 5})
def by_function(api_token: str) -> None: ...


@safe_task(max_retries=0)
def nested(options: dict[str, object]) -> None:
    raise ValueError(str(options))


@safe_task(max_retries=0, redact=("note",))
def about(note: Note) -> None:
    raise ValueError(f"note {note.pk}")


@safe_task
def numbered(secret_number: Note) -> None: ...


@pytest.fixture
def log(caplog):
    """What this package and Celery log of tasks, with the tracebacks."""
    caplog.set_level(logging.INFO)
    return caplog


def kept(operation: Operation) -> str:
    """Everything of a row that people read."""
    operation.refresh_from_db()
    return "\n".join([operation.key, operation.error, operation.traceback, operation.exception, str(operation)])


@pytest.mark.parametrize("how", ["delay", "keyword", "apply", "send_task"])
@pytest.mark.parametrize("task", [reset, pay, retried])
def test_a_secret_is_in_no_text_that_is_kept_or_logged(worker, log, how, task):
    name = "iban" if task is pay else "password"
    {
        "delay": lambda: task.delay("bob", SECRET),
        "keyword": lambda: task.apply_async(("bob",), {name: SECRET}),
        "apply": lambda: task.apply(("bob", SECRET)),
        "send_task": lambda: app.send_task(task.name, ("bob", SECRET)),
    }[how]()
    worker.finish()
    operation = Operation.objects.get()
    for text in (kept(operation), log.text):
        assert "bob" in text
        assert "•••" in text
        assert "hunter2" not in text
    assert operation.state == State.FAILED
    assert "login of bob with •••" in operation.error


@pytest.mark.parametrize(
    "value",
    ["x", "7", 7, 1.5, b"octets", uuid.UUID(int=2**100), ["one", {"two": 12345}], "sn\u00f6", 'quo"ted', "line\nbreak"],
)
def test_values_of_every_kind_are_masked(worker, value):
    operation = pay.enqueue("bob", value)
    worker.drain()
    operation.refresh_from_db()
    assert "login of bob with •••" in re.sub("b?'•••'", "•••", operation.error).replace("[•••, {'two': •••}]", "•••")
    assert str(value) not in operation.error


@pytest.mark.parametrize("value", ["", " ", None, True])
def test_what_says_nothing_is_not_looked_for(worker, value):
    operation = pay.enqueue("bob", value)
    worker.drain()
    operation.refresh_from_db()
    assert f"login of bob with {value}" in operation.error


def test_a_short_value_is_masked_where_it_stands_alone(worker):
    operation = pay.enqueue("bob", "log")
    worker.drain()
    operation.refresh_from_db()
    assert "login of bob with •••" in operation.error


def test_an_outcome_that_is_told_again_is_masked(worker):
    first = reset.enqueue("bob", SECRET)
    worker.drain()
    with pytest.raises(RuntimeError, match="login of bob with •••"):
        handle(reset, first.pk).get()


def opens(key, api_key="", door="") -> None: ...


@pytest.mark.parametrize(
    ("redact", "hidden"),
    [(None, {"api_key"}), (["key"], {"key"}), ([], set())],
)
def test_what_is_called_just_key_names_the_work_and_is_hidden_where_somebody_says_so(settings, redact, hidden):
    settings.TASK_SAFETY = {"REDACT": redact}
    task = safe_task(opens)
    assert {name for name in ("key", "api_key", "door") if hides(task, name)} == hidden
    app.tasks.pop(task.name)


def test_what_people_read_of_a_key_without_names_is_a_digest(worker):
    first, second = reset.enqueue("bob", SECRET), reset.enqueue("bob", "another")
    assert first.key == first.key_digest != second.key
    assert reset.enqueue(user="bob", password=SECRET) == first


def test_what_people_read_of_a_key_is_without_secrets(worker):
    assert by_names.enqueue("bob", SECRET).key == '["bob", "•••"]'
    first = by_name.enqueue("bob", SECRET)
    assert first.key == "•••"
    assert by_name.enqueue("bob", SECRET) == first
    assert by_name.enqueue("bob", "another") != first
    with pytest.raises(KeyReused) as caught:
        by_name.delay("ann", SECRET)
    assert "hunter2" not in str(caught.value)
    key = by_function.enqueue(SECRET).key
    assert "hunter2" not in key
    assert "5" not in key


def test_messages_say_nothing_of_a_secret_but_in_their_arguments(worker):
    pay.delay("bob", SECRET, "more", iban2="shown", password="p4ssword")
    by_names.delay("bob", SECRET)
    first, second = worker.take()
    said = json.dumps(first.headers, ensure_ascii=False) + json.dumps(second.headers, ensure_ascii=False)
    assert "hunter2" not in said
    assert "p4ssword" not in said
    assert "shown" in said
    assert first.headers["argsrepr"].replace("'", "") == "(bob, •••, more)"
    assert first.payload[0][1] == SECRET


def test_what_the_sweeper_publishes_says_nothing_either(worker):
    pay.delay("bob", SECRET)
    worker.take()
    worker.pass_time(61)
    sweeper.sweep()
    assert "hunter2" not in json.dumps(worker.take_one().headers)


def test_secrets_in_dicts_are_hidden(worker, log):
    operation = nested.enqueue({"login": {"password": SECRET}, "list": [{"token": "t0ken"}], "user": "bob"})
    worker.drain()
    for text in (kept(operation), log.text):
        assert "hunter2" not in text
        assert "t0ken" not in text
    assert "bob" in operation.error


def test_a_hidden_object_is_hidden_by_its_key(worker):
    note = NoteFactory(pk=48151623)
    operation = about.enqueue(note)
    worker.drain()
    assert kept(operation).count("48151623") == 0
    assert operation.subject == note


def test_what_is_refused_at_the_call_quotes_no_secret(worker):
    with pytest.raises(InvalidArguments) as caught:
        numbered.delay("x" * 60 + SECRET)
    assert "xxx" not in str(caught.value)
    assert "•••" in str(caught.value)
    app.send_task(numbered.name, [SECRET])
    worker.drain()
    assert "hunter2" not in kept(Operation.objects.get())


def test_the_arguments_of_the_row_are_masked_where_it_has_newer_ones_than_the_message(worker, log):
    @idempotent_task(key="user", on_duplicate="replace", max_retries=0)
    def latest(user: str, password: str) -> None:
        spill(user, password)

    operation = latest.enqueue("bob", "the older one")
    message = worker.take_one()
    latest.enqueue("bob", SECRET)
    worker.take()
    worker.deliver(message)
    assert "hunter2" not in kept(operation) + log.text
    assert operation.state == State.FAILED


def test_the_setting_takes_the_place_of_djangos_names(worker, settings):
    settings.TASK_SAFETY = {"REDACT": ("user",)}
    operation = retried.enqueue("bobby", SECRET)
    worker.finish()
    assert "bobby" not in kept(operation)
    assert "hunter2" in operation.error
    pay_operation = pay.enqueue("bobby", SECRET)
    worker.finish()
    assert "bobby" not in kept(pay_operation)
    assert "hunter2" not in pay_operation.error


@pytest.mark.parametrize("value", ["password", b"password", {"password"}, [1], 5, [None]])
def test_the_setting_takes_a_list_or_tuple_of_names(value):
    with pytest.raises(InvalidSetting, match=r"REDACT.*list or tuple"):
        load({"REDACT": value})
    assert load({"REDACT": ["a", "b"]}).REDACT == ("a", "b")
    assert load({"REDACT": None}).REDACT is None


@pytest.mark.parametrize(
    ("value", "says"),
    [("iban", "list or tuple"), (5, "list or tuple"), ([1], "list or tuple"), (["ibann"], "Did you mean 'iban'")],
)
def test_the_option_takes_a_list_or_tuple_of_parameters(value, says):
    def transfer(iban: str) -> None: ...

    with pytest.raises(InvalidOption, match=f"redact.*{says}"):
        safe_task(redact=value)(transfer)


def test_masking_ends_with_the_task(worker, log):
    pay.delay("bob", "some thing")
    worker.drain()
    logging.getLogger("django_task_safety").warning("some thing else")
    assert "some thing else" in log.text


def test_a_task_with_secrets_costs_no_statement_more(worker):
    counts = []
    for task in (by_name, by_names):
        with statements() as found:
            task.delay("bob", SECRET)
            worker.drain()
        counts.append(len(found))
    assert counts == [3, 3]


@safe_task(max_retries=0)
def undone_later(user: str, password: str) -> None: ...


@undone_later.compensate
def cannot_undo(operation: Operation, exc: BaseException) -> None:
    (user, password), _ = json.loads(operation.payload)
    spill(user, password)


def test_a_compensation_in_the_sweeper_says_nothing_of_a_secret(worker, log):
    operation = undone_later.enqueue("bob", SECRET)
    ledger.claim(operation.pk, "dies", 30, None)
    worker.pass_time(31)
    sweeper.sweep()
    for text in (kept(operation), log.text):
        assert "login of bob with •••" in text
        assert "hunter2" not in text
