"""What is refused at the call, before anything is written, and what survives the way to the worker."""

import math
import uuid
from ast import literal_eval
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pytest
from celery.app.routes import MapRoute, Router
from django.utils import timezone
from kombu import Queue
from kombu.serialization import registry
from kombu.utils.encoding import bytes_to_str

from django_task_safety import (
    InvalidArguments,
    InvalidOption,
    InvalidPayload,
    PayloadTooLarge,
    TaskSafetyError,
    idempotent_task,
    safe_task,
)
from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from tests.celery import app
from tests.support.ids import label
from tests.testapp.models import Note
from tests.testapp.tasks import add, copy_note, record

State = Operation.State
received: list[object] = []


@safe_task
def arrive(value: object, **named: object) -> None:
    received.append((value, named))


@idempotent_task
def arrive_once(value: object) -> None:
    received.append(value)


@safe_task(max_payload=100)
def small(text: str) -> int:
    return len(text)


@safe_task(serializer="literal")
def otherwise(value: object) -> None:
    received.append(value)


@pytest.fixture(autouse=True)
def _nothing_received():
    received.clear()


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1, 2, 3), {}), ((1,), {"c": 3}), ((1,), {"a": 1})],
)
@pytest.mark.parametrize("how", ["delay", "enqueue", "apply"])
def test_arguments_that_do_not_fit_are_a_type_error_and_write_nothing(worker, how, args, kwargs):
    with pytest.raises(InvalidArguments, match=add.name) as caught:
        add.apply(args, kwargs) if how == "apply" else getattr(add, how)(*args, **kwargs)
    assert isinstance(caught.value, TypeError)
    assert not Operation.objects.exists()


def test_too_large_a_payload_is_refused_with_the_numbers(worker):
    small.delay("x" * 90)
    with pytest.raises(PayloadTooLarge, match=r"105 bytes.*100"):
        small.delay("x" * 95)
    assert Operation.objects.count() == 1


def test_the_payload_limit_counts_bytes_and_comes_from_the_settings(worker, settings):
    settings.TASK_SAFETY = {"MAX_PAYLOAD": 200}
    record.delay("x" * 100)
    with pytest.raises(PayloadTooLarge):
        record.delay("ü" * 100)
    settings.TASK_SAFETY = {"MAX_PAYLOAD": 2000}
    record.delay("ü" * 100)


@pytest.mark.parametrize("value", [object(), lambda: None, {1, 2}.__iter__(), open])
def test_arguments_that_cannot_be_serialised_are_refused(worker, value):
    with pytest.raises(InvalidPayload, match=r"[Ss]eriali"):
        arrive.delay(value)
    assert not Operation.objects.exists()


@pytest.mark.parametrize(
    "value",
    [{"__type__": "x", "__value__": 1}, [{"deep": {"__type__": "datetime", "__value__": "soon"}}]],
)
def test_arguments_that_encode_but_cannot_be_decoded_are_refused(worker, value):
    with pytest.raises(InvalidPayload, match="read back"):
        arrive.delay(value)
    assert not Operation.objects.exists()


def test_an_unsaved_object_as_an_argument_is_refused(worker):
    with pytest.raises(InvalidArguments, match="never saved"):
        copy_note.delay(Note(title="new"))
    with pytest.raises(InvalidArguments, match="never saved"):
        arrive.delay({"deep": [Note(pk=5)]})
    assert not Operation.objects.exists()


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 0, -(2**70), 1.5, "", "text", "ünïcödé 🎉", "a\x00b", "\ud800 alone", "\\u0000", '"quoted"'),
        *(
            b"",
            b"\x00\xff",
            [],
            [1, [2, [3]]],
            {},
            {"a": {"b": [None]}},
            {"__model__": 1},
            {"__type__": "no"},
            "!looks!like!ours",
        ),
        *(Decimal("1.10"), uuid.UUID(int=7), datetime(2026, 1, 2, 3, 4, 5, 6, UTC), date(2026, 1, 2), time(1, 2)),
        *(math.inf, "x" * 10_000, "__proto__", {"args": [1], "kwargs": {}}),
    ],
    ids=ascii,
)
@pytest.mark.parametrize("task", [arrive, arrive_once])
def test_arguments_arrive_as_they_were_given(worker, task, value):
    task.delay(value)
    worker.drain()
    assert Operation.objects.get().state == State.SUCCEEDED, Operation.objects.get().error
    (arrived,) = received
    arrived = arrived[0] if task is arrive else arrived
    assert arrived == value
    assert type(arrived) is type(value)


def test_nan_as_an_argument_arrives_as_nan(worker):
    arrive.delay(math.nan)
    worker.drain()
    ((arrived, _),) = received
    assert math.isnan(arrived)


@pytest.mark.parametrize("value", ["a\x00b", "\ud800", b"\x00", "🎉"])
def test_odd_arguments_survive_a_lost_message(worker, value):
    arrive.delay(value, named=value)
    worker.take()
    worker.pass_time(61)
    sweeper.sweep()
    worker.drain()
    assert received == [(value, {"named": value})]


def test_another_serialiser_may_be_chosen(worker):
    app.conf.accept_content = ["json", "literal"]
    registry.register("literal", repr, lambda data: literal_eval(bytes_to_str(data)), "application/x-literal", "utf-8")
    try:
        otherwise.delay({1: {2, 3}, "a": (4,)})
        assert worker.take_one().content_type == "application/x-literal"
        worker.pass_time(61)
        sweeper.sweep()
        worker.drain()
    finally:
        registry.unregister("literal")
        app.conf.accept_content = ["json"]
    assert received == [{1: {2, 3}, "a": (4,)}]


@pytest.mark.parametrize("countdown", [-1, -0.001, math.nan, math.inf, "soon", "5", True, [1]])
def test_a_countdown_that_makes_no_sense_is_refused(worker, countdown):
    with pytest.raises(InvalidOption, match="countdown"):
        record.apply_async(("a",), countdown=countdown)
    assert not Operation.objects.exists()


@pytest.mark.parametrize("limit", [0, -1, math.nan, 1e300, "10", True, timedelta(seconds=10)], ids=label)
@pytest.mark.parametrize("name", ["time_limit", "soft_time_limit"])
def test_a_time_limit_that_makes_no_sense_is_refused(worker, name, limit):
    with pytest.raises(InvalidOption, match=name):
        record.apply_async(("a",), **{name: limit})
    assert not Operation.objects.exists()


@pytest.mark.parametrize(
    ("misspelt", "meant"), [("countdwon", "countdown"), ("expire", "expires"), ("queu", "queue"), ("taskid", "task_id")]
)
def test_a_misspelt_calling_option_is_refused_with_the_right_name(worker, misspelt, meant):
    with pytest.raises(InvalidOption, match=f"'{misspelt}'.*Did you mean '{meant}'"):
        record.apply_async(("a",), **{misspelt: "x"})
    assert not Operation.objects.exists()


def test_other_calling_options_are_left_to_the_transport_and_stamps_to_their_stamper(worker):
    record.apply_async(("a",), MessageGroupId="orders")
    record.s("b").stamp(expire="a stamp").apply_async()
    worker.drain()
    assert Operation.objects.filter(state=Operation.State.SUCCEEDED).count() == 2


@pytest.mark.parametrize("name", ["eta", "expires"])
def test_a_naive_datetime_as_an_eta_is_refused(worker, name):
    with pytest.raises(InvalidOption, match=f"{name}.*naive"):
        record.apply_async(("a",), **{name: datetime(2040, 1, 1)})
    assert not Operation.objects.exists()


BEYOND = [
    *(datetime.max.replace(tzinfo=UTC), datetime.max.replace(tzinfo=timezone.get_fixed_timezone(-720))),
    *(datetime.min.replace(tzinfo=UTC), datetime.min.replace(tzinfo=timezone.get_fixed_timezone(720))),
    *(datetime(2400, 1, 1, tzinfo=UTC), "9999-12-31T23:59:59-12:00"),
]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("expires", 0), ("expires", -1), ("eta", "tomorrow"), ("expires", "x")),
        *((name, moment) for name in ("eta", "expires") for moment in BEYOND),
    ],
    ids=label,
)
def test_an_eta_or_expiry_that_makes_no_sense_is_refused(worker, name, value):
    with pytest.raises(TaskSafetyError, match=name):
        record.apply_async(("a",), **{name: value})
    assert not Operation.objects.exists()


@pytest.mark.parametrize("delay", [120, 120.0, timedelta(minutes=2)])
def test_a_countdown_is_seconds_or_a_timedelta(worker, delay):
    before = timezone.now()
    record.apply_async(("a",), countdown=delay)
    waits = (Operation.objects.get().available_at - before).total_seconds()
    assert 119 < waits < 125


def test_an_eta_in_the_past_is_due_at_once(worker):
    record.apply_async(("a",), eta=timezone.now() - timedelta(hours=1))
    worker.drain()
    assert worker.ahead == 0
    assert Operation.objects.get().state == State.SUCCEEDED


def test_an_eta_is_the_same_moment_in_every_time_zone(worker):
    eta = datetime(2040, 6, 1, 12, 0, 0, tzinfo=timezone.get_fixed_timezone(330))
    record.apply_async(("a",), eta=eta)
    # It is written as so long from now, by the database's clock: a machine under load takes its time between the two.
    assert abs(Operation.objects.get().available_at - eta) < timedelta(minutes=1)


def test_a_short_countdown_waits_in_the_broker_and_a_long_one_in_the_database(worker):
    record.apply_async(("short",), countdown=59)
    assert worker.take_one().headers["eta"]
    record.apply_async(("long",), countdown=61)
    assert worker.take() == []


def test_an_unknown_calling_option_is_celerys_to_judge(worker):
    record.apply_async(("a",), priority=5, headers={"x": "y"}, queue="celery")
    message = worker.take_one()
    assert message.headers["x"] == "y"
    assert message.properties["priority"] == 5


def test_calling_options_are_the_same_when_the_message_is_published_again(worker):
    record.apply_async(("a",), priority=5, headers={"x": "y"}, queue="celery", soft_time_limit=7, time_limit=9)
    first = worker.take_one()
    worker.pass_time(61)
    sweeper.sweep()
    second = worker.take_one()
    for message in (first, second):
        # Since when it is due is told by another clock, and is in the digest.
        assert all(message.headers["task_safety"].pop(name) for name in ("due", "sig"))
    for name in ("x", "timelimit", "task", "id", "root_id", "argsrepr", "task_safety"):
        assert second.headers[name] == first.headers[name], name
    assert second.properties["priority"] == 5


def test_arguments_that_contain_themselves_are_refused(worker):
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(InvalidPayload, match="themselves"):
        record.delay(endless)
    assert not Operation.all_rows.exists()


@pytest.mark.parametrize(
    "option",
    [
        *({"compression": "nope"}, {"queue": 5}, {"priority": "high"}, {"headers": 5}, {"serializer": 7}),
        *({"priority": -1}, {"priority": 256}, {"queue": "q" * 256}, {"routing_key": "ü" * 128}),
        *({"queue": "a\0b"}, {"queue": Queue("a\0b")}, {"routing_key": "a\0b"}, {"exchange": "a\ud800b"}),
    ],
    ids=lambda option: f"{option!r:.30}",
)
def test_a_call_that_could_never_be_published_is_refused(worker, option):
    with pytest.raises(InvalidOption, match=next(iter(option))):
        record.apply_async(("a",), **option)
    assert not Operation.all_rows.exists()


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b", "q" * 300], ids=["NUL", "surrogate", "long"])
def test_a_call_that_is_routed_to_a_queue_whose_name_no_row_can_hold_is_made(worker, monkeypatch, name):
    monkeypatch.setattr(
        app.amqp,
        "router",
        Router([MapRoute({record.name: {"queue": name}})], app.amqp.queues, True, app),
        raising=False,
    )
    assert record.enqueue("a").queue == name.replace("\0", "\\x00").replace("\ud800", "\\ud800")[:255]


@pytest.mark.parametrize("name", ["link", "link_error"])
@pytest.mark.parametrize("callback", [print, 5, {"a": 1}, [None]], ids=label)
def test_a_callback_that_is_none_is_refused(worker, name, callback):
    with pytest.raises(InvalidOption, match=f"{name} takes signatures"):
        record.apply_async(("a",), **{name: callback})
    assert not Operation.all_rows.exists()


def test_a_callback_may_be_a_tasks_name(worker):
    record.apply_async(("a",), link=record.name)
    worker.drain()
    assert Operation.objects.filter(task=record.name, state=State.SUCCEEDED).count() == 2
