"""How long to wait: the formula, its bounds, and what a server asks for."""

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_task_safety.values.backoff import RETRY_AFTER_MAX, SHORTEST, exponential, retry_after

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def failed(**attributes: Any) -> Exception:
    exc = Exception("failed")
    exc.__dict__.update(attributes)
    return exc


@pytest.mark.parametrize(
    ("retries", "base", "seconds"),
    [(0, 2, 2), (1, 2, 4), (5, 2, 64), (0, 0.5, 0.5), (3, 0.5, 4), (2, 2.9, 11.6), (9, 2, 600), (10_000, 2, 600)],
)
def test_without_jitter_a_backoff_doubles_up_to_the_cap(retries, base, seconds):
    assert exponential(retries, base=base, maximum=600, jitter=False) == pytest.approx(seconds)


def test_the_jitter_of_a_backoff_draws_from_the_upper_half():
    drawn = [exponential(3, base=1, maximum=100) for _ in range(2000)]
    assert 4 <= min(drawn) < 4.2
    assert 7.8 < max(drawn) <= 8


@given(st.integers(0, 10**6), st.floats(0, 10**6), st.floats(0.001, 10**6), st.booleans(), st.sampled_from([min, max]))
def test_no_backoff_is_zero_or_above_the_cap(retries, base, maximum, jitter, extreme):
    delay = exponential(retries, base=base, maximum=maximum, jitter=jitter, uniform=lambda a, b: extreme(a, b))
    assert SHORTEST <= delay <= max(SHORTEST, maximum)
    assert math.isfinite(delay)


@pytest.mark.parametrize(
    ("exc", "seconds"),
    [
        (failed(retry_after=7), 7),
        (failed(retry_after=0.5), 0.5),
        (failed(retry_after=timedelta(minutes=1)), 60),
        (failed(response=SimpleNamespace(headers={"Retry-After": "120"})), 120),
        (failed(response=SimpleNamespace(headers={"retry-after": " 3 "})), 3),
        (failed(headers={"Retry-After": "5"}), 5),
        (failed(response=SimpleNamespace(headers={}), headers={"Retry-After": "5"}), 5),
        (failed(response=SimpleNamespace(headers={"Retry-After": format_datetime(NOW + timedelta(seconds=90))})), 90),
        (failed(headers={"Retry-After": "Thu, 01 Jan 2026 12:01:00 GMT"}), 60),
        (failed(headers={"Retry-After": "Thu, 01 Jan 2026 11:00:00 GMT"}), 0),
        (failed(headers={"Retry-After": "Thursday, 01-Jan-26 12:01:00 GMT"}), 60),
    ],
)
def test_the_retry_after_of_a_server_is_found_in_the_exceptions_of_http_clients(exc, seconds):
    assert retry_after(exc, now=NOW) == seconds


@pytest.mark.parametrize("value", ["soon", "", "1,5", "-", "12 parsecs", None, True, [], object()])
def test_an_unreadable_retry_after_is_none(value):
    assert retry_after(failed(retry_after=value)) is None
    assert retry_after(failed(headers={"Retry-After": value})) is None


@pytest.mark.parametrize("exc", [failed(), failed(response=None), failed(headers=5), failed(response="text")])
def test_an_exception_without_headers_has_no_retry_after(exc):
    assert retry_after(exc) is None


@pytest.mark.parametrize(
    ("value", "seconds"), [(-5, 0), ("-5", 0), (10**12, RETRY_AFTER_MAX), ("inf", RETRY_AFTER_MAX), (math.inf, 86_400)]
)
def test_an_absurd_retry_after_is_bounded(value, seconds):
    assert (
        retry_after(failed(retry_after=value) if not isinstance(value, str) else failed(headers={"Retry-After": value}))
        == seconds
    )


@pytest.mark.parametrize("value", [math.nan, "nan"])
def test_nan_is_no_retry_after(value):
    assert retry_after(failed(retry_after=value)) is None
    assert retry_after(failed(headers={"Retry-After": value})) is None


def test_headers_that_raise_are_no_retry_after():
    class Headers(dict):
        def get(self, *args):
            raise RuntimeError

    assert retry_after(failed(headers=Headers())) is None


def test_a_retry_after_attribute_may_be_text_as_a_header_is():
    assert retry_after(failed(retry_after=" 44 ")) == 44
    assert retry_after(failed(retry_after=format_datetime(NOW + timedelta(seconds=9), usegmt=True)), now=NOW) == 9


def test_retry_after_is_found_in_the_dict_of_botocore():
    response = {"ResponseMetadata": {"HTTPHeaders": {"retry-after": "7"}}}
    assert retry_after(failed(response=response)) == 7
    assert retry_after(failed(response={"Error": {}})) is None
