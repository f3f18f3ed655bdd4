"""Task options: what is refused when a task is defined, and how tasks can be made."""

import math
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import _state, current_app
from django.db import models

from django_task_safety import CANCEL, KEEP, PROTECT, InvalidOption, SafeTask, idempotent_task, safe_task
from django_task_safety.worker import retry_policy
from tests.support.ids import label
from tests.support.workers import ROOT
from tests.testapp.models import Note


@pytest.fixture(autouse=True)
def _definitions_are_forgotten(monkeypatch) -> Iterator[None]:
    """A task that cannot be defined must not be defined again by the next Celery app."""
    monkeypatch.setattr(_state, "_on_app_finalizers", set(_state._on_app_finalizers))
    tasks = dict(current_app.tasks)
    yield
    current_app.tasks.clear()
    current_app.tasks.update(tasks)


def define(decorator: Callable[..., Any], body: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Define a task and look at it, as Celery does when its app is ready."""

    def default(note: Note, number: int = 0) -> None: ...

    task = decorator(name=f"tests.options.{uuid.uuid4()}", **options)(body or default)
    assert task.name.startswith("tests.options.")
    return task


@pytest.mark.parametrize(
    ("option", "nearest"),
    [
        ("on_deleted", "on_delete"),
        ("retry_one", "retry_on"),
        ("max_retry", "max_retries"),
        ("task_time_limit", "soft_time_limit|time_limit"),
        ("ack_late", "acks_late"),
        ("ignore_results", "ignore_result"),
    ],
)
@pytest.mark.parametrize("decorator", [safe_task, idempotent_task])
def test_an_unknown_option_is_refused_with_the_nearest_name(decorator, option, nearest):
    with pytest.raises(InvalidOption, match=f"{option}.*Did you mean '({nearest})'"):
        decorator(**{option: 1})


@pytest.mark.parametrize("option", ["key", "on_duplicate", "rerun", "match", "version", "period"])
def test_the_options_of_idempotent_tasks_are_unknown_to_safe_ones(option):
    with pytest.raises(InvalidOption, match=option):
        safe_task(**{option: "number"})
    known = {"on_duplicate": "raise", "rerun": "never", "period": timedelta(1)}
    define(idempotent_task, **{option: known.get(option, "number")})


def test_invalid_option_is_a_type_error_and_a_value_error():
    with pytest.raises(TypeError):
        safe_task(nonsense=1)
    with pytest.raises(ValueError, match="nonsense"):
        safe_task(nonsense=1)


@pytest.mark.parametrize(
    "options",
    [
        {"key": "numbr"},
        {"key": ("note", "numbr")},
        {"match": "numbr"},
        {"match": ["note", "numbr"]},
        {"version": "numbr"},
        {"subject": "numbr"},
    ],
    ids=label,
)
def test_an_option_that_names_a_parameter_the_task_does_not_have_is_refused(options):
    with pytest.raises(InvalidOption, match=r"'numbr'.*Did you mean 'number'"):
        define(idempotent_task, **options)


@pytest.mark.parametrize(
    "options",
    [
        *({"on_delete": "delete"}, {"on_delete": None}, {"on_duplicate": "ignore"}, {"rerun": True}, {"rerun": "yes"}),
        *({"period": 60}, {"period": timedelta(0)}, {"period": timedelta(-1)}, {"period": "1h"}),
        *({"retention": 0}, {"retention": -5}, {"retention": "1 day"}, {"retention": timedelta(0)}),
        *({"time_limit": -1}, {"soft_time_limit": 0}, {"retry_backoff_max": 0}, {"retry_backoff": -1}),
        *({"retry_backoff": "2"}, {"max_retries": -1}, {"max_retries": "3"}, {"max_payload": 0}, {"max_payload": -1}),
        *({"max_payload": "1M"}, {"lock": 5}, {"lock": ""}, {"atomic": "yes"}, {"atomic": None}),
        *({"key": 5}, {"key": []}, {"key": [5]}, {"version": ["number", "note"]}, {"subject": 5}, {"match": ()}),
        *({"retry_jitter": "x"}, {"retry_jitter": 2}, {"retry_backoff": math.inf}, {"retry_backoff": math.nan}),
        *({"retention": 1e300}, {"time_limit": 1e300}, {"retry_backoff_max": 1e300}, {"period": timedelta.max}),
        *({"max_retries": 2.5}, {"max_retries": 2**31}, {"time_limit": timedelta(minutes=1)}, {"time_limit": "10"}),
        *({"soft_time_limit": timedelta(minutes=1)}, {"default_retry_delay": timedelta(minutes=1)}),
        *({"lock": "x" * 256}, {"lock": "a\0"}, {"retry_kwargs": 5}, {"retry_kwargs": {"countdwon": 5}}),
        *({"retry_kwargs": {"queue": "slow"}}, {"retry_kwargs": {"countdown": -1}}),
        *({"retry_on": 5}, {"retry_on": "ConnectionError"}, {"retry_on": [int]}, {"retry_on": (ValueError, 5)}),
    ],
    ids=label,
)
def test_an_option_with_a_value_that_cannot_work_is_refused(options):
    (option,) = options
    with pytest.raises(InvalidOption, match=option):
        define(idempotent_task, **options)


@pytest.mark.parametrize("name", ["x" * 256, "a\0b", "\ud800"], ids=["long", "NUL", "surrogate"])
def test_a_task_name_that_no_database_stores_is_refused(name):
    def body() -> None: ...

    with pytest.raises(InvalidOption, match="its name must be"):
        assert safe_task(name=name)(body).max_retries


@pytest.mark.parametrize("option", ["key", "match", "subject", "version"])
def test_options_cannot_name_self_of_a_bound_task(option):
    def body(self, number): ...

    with pytest.raises(InvalidOption, match="'self', which the task does not have"):
        define(idempotent_task, body, bind=True, **{option: "self"})


def test_celerys_retry_kwargs_are_understood():
    options = {"max_retries": 7, "countdown": 5}
    task = define(safe_task, autoretry_for=(OSError,), retry_kwargs=options)
    assert (task.max_retries, task.retry_backoff, task.default_retry_delay) == (7, False, 5)
    assert retry_policy.backoff_delay(task, 3) == 5
    task = define(safe_task, autoretry_for=(OSError,), retry_kwargs=options, retry_backoff=3)
    assert (task.max_retries, task.retry_backoff) == (7, 3)


@pytest.mark.parametrize(
    "options",
    [
        *({"on_delete": CANCEL}, {"on_delete": PROTECT}, {"on_delete": KEEP}, {"subject": "note"}, {"lock": "import"}),
        *({"retry_on": KeyError}, {"retry_on": (KeyError, OSError)}, {"retry_on": lambda exc: 5}, {"max_payload": 10}),
        *({"atomic": False}, {"retention": 60}, {"retention": timedelta(1)}, {"max_retries": None}, {"max_retries": 0}),
        *({"retry_backoff": 0.5}, {"retry_backoff": True}, {"retry_jitter": False}, {"retry_backoff_max": 10}),
        *({"rate_limit": "1/s"}, {"serializer": "json"}, {"ignore_result": True}),
        *(
            {"autoretry_for": (OSError,)},
            {"time_limit": 10},
            {"expires": 60},
            {"acks_late": False},
            {"track_started": 1},
        ),
    ],
    ids=lambda options: "-".join(options),
)
def test_every_option_is_accepted(options):
    task = define(safe_task, **options)
    ((option, value),) = options.items()
    assert getattr(task, option) == value


@pytest.mark.parametrize("decorator", [safe_task, idempotent_task])
@pytest.mark.parametrize("thing", [Note, "a name", 5], ids=label)
def test_only_a_function_can_be_made_a_task(decorator, thing):
    with pytest.raises(InvalidOption, match="function"):
        decorator(thing)
    with pytest.raises(InvalidOption, match="function"):
        decorator(max_retries=1)(thing)


@pytest.mark.parametrize(
    "options", [{"key": "note"}, {"period": timedelta(1)}, {"key": "note", "match": "number"}], ids=label
)
def test_a_class_that_forgot_to_be_idempotent_is_refused(options):
    base = type("Base", (SafeTask,), {"abstract": True, **options})
    with pytest.raises(InvalidOption, match=rf"{next(iter(options))} is for idempotent tasks: say idempotent = True"):
        define(safe_task, base=base)
    assert define(safe_task, base=type("Base", (base,), {"abstract": True, "idempotent": True})).idempotent
    assert define(idempotent_task, base=base).idempotent


@pytest.mark.parametrize("option", ["match", "version"])
@pytest.mark.parametrize("key", ["number", ["note", "number"]], ids=label)
def test_a_match_or_version_that_names_only_parts_of_the_key_is_refused(option, key):
    with pytest.raises(InvalidOption, match=rf"{option}=.*'number'.* is part of the key.*key="):
        define(idempotent_task, key=key, **{option: "number"})
    assert define(idempotent_task, key="note", **{option: "number"}).idempotent
    assert define(idempotent_task, key=lambda note, number: note, **{option: "number"}).idempotent
    assert define(idempotent_task, key="note", match=("note", "number")).idempotent


def test_djangos_constants_of_the_same_name_are_told_from_this_packages():
    with pytest.raises(InvalidOption, match=r"on_delete=.*Import CANCEL, PROTECT and KEEP from django_task_safety"):
        define(safe_task, on_delete=models.PROTECT)


async def _coroutine(note: Note) -> None: ...


async def _async_generator(note: Note) -> AsyncIterator[None]:
    yield


def _generator(note: Note) -> Iterator[None]:
    yield


@pytest.mark.parametrize("bind", [False, True])
@pytest.mark.parametrize(
    ("body", "advice"), [(_coroutine, "async_to_sync"), (_async_generator, "async_to_sync"), (_generator, "a list")]
)
def test_a_function_whose_call_does_no_work_cannot_be_made_a_task(body, advice, bind):
    with pytest.raises(InvalidOption, match=advice):
        define(safe_task, body, bind=bind)


def test_the_option_key_is_a_name_several_names_or_a_function():
    for key in ("number", ("note", "number"), ["number"], lambda note, number: number, None):
        assert define(idempotent_task, key=key).idempotent


def test_the_soft_limit_of_a_task_with_a_short_hard_one_is_below_it():
    task = define(safe_task, time_limit=10)
    assert 0 < task.soft_time_limit < 10


def test_a_soft_limit_at_or_above_the_hard_one_is_refused():
    with pytest.raises(InvalidOption, match="soft_time_limit"):
        define(safe_task, time_limit=10, soft_time_limit=10)


def test_a_task_without_options_is_retried_within_bounds_acknowledged_late_and_atomic():
    task = define(safe_task)
    assert task.acks_late
    assert 0 < task.max_retries < 20
    assert task.retry_backoff
    assert task.retry_jitter
    assert 0 < task.retry_backoff_max <= 3600
    assert task.on_delete == CANCEL
    assert task.atomic


def test_the_hard_limit_of_a_task_with_a_long_soft_one_is_above_it():
    task = define(safe_task, soft_time_limit=3000)
    assert task.time_limit > task.soft_time_limit == 3000


@pytest.mark.parametrize(
    ("decorate", "options"),
    [
        *((safe_task, one) for one in ({"on_delete": "bogus"}, {"subject": "nope"}, {"max_payload": 0}, {"lock": ""})),
        *((idempotent_task, one) for one in ({"key": "nope"}, {"on_duplicate": "x"}, {"match": "nope"}, {"period": 1})),
    ],
)
def test_a_wrong_task_is_refused_where_it_is_defined_also_before_the_celery_app_is_ready(decorate, options):
    code = (
        "import django; django.setup()\n"
        "from django_task_safety import idempotent_task, safe_task\n"
        "from celery import current_app\n"
        "assert not current_app.finalized\n"
        f"@{decorate.__name__}(**{options!r})\n"
        "def body(a): ...\n"
    )
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert f"InvalidOption: Task body: {next(iter(options))}" in ended.stderr.splitlines()[-1]


def test_celery_s_retry_options_take_one_class_and_a_timedelta():
    task = define(safe_task, autoretry_for=ValueError, retry_backoff_max=timedelta(minutes=1))
    assert (task.autoretry_for, task.retry_backoff_max) == ((ValueError,), 60)
