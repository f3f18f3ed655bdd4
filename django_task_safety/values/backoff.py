"""How long to wait before the next attempt."""

import math
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

#: A server's Retry-After is honoured up to this many seconds (a day), so that an absurd one cannot park work for ever.
RETRY_AFTER_MAX = 86_400.0
#: No computed delay is shorter than this many seconds: a retry never storms.
SHORTEST = 0.05


def exponential(
    retries: int,
    *,
    base: float,
    maximum: float,
    jitter: bool = True,
    uniform: Callable[[float, float], float] = random.uniform,
) -> float:
    """Return the seconds to wait before retry number ``retries`` (0 for the first).

    The delay is ``min(maximum, base * 2**retries)``. With jitter it is drawn from its upper half
    ("equal jitter", M. Brooker, *Exponential Backoff And Jitter*, AWS Architecture Blog, 2015),
    so that it spreads callers and yet never is zero.
    """
    # Invariant: retries are spread and capped.
    # The exponent is bounded because 2.0**1024 overflows a float.
    delay = min(maximum, base * math.pow(2.0, min(retries, 64)))
    if jitter:
        delay = uniform(delay / 2, delay)
    return max(SHORTEST, delay)


def retry_after(exc: BaseException, *, now: datetime | None = None) -> float | None:
    """Return the seconds that a server asked to wait, or None.

    Duck-typed: looks for ``exc.retry_after`` (a number, a timedelta, or text as in the header), then for a
    ``Retry-After`` header in ``exc.response.headers`` (requests, httpx), in botocore's ``exc.response`` or in
    ``exc.headers`` (urllib). The header is delay-seconds or an HTTP date (RFC 9110, section 10.2.3).
    """
    try:
        return _asked(exc, now)
    except Exception:  # a foreign object's properties may do anything
        return None


def _asked(exc: BaseException, now: datetime | None) -> float | None:
    value = getattr(exc, "retry_after", None)
    if isinstance(value, timedelta):
        return _bounded(value.total_seconds())
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _bounded(float(value))
    if isinstance(value, str):
        return _parse(value.strip(), now or datetime.now(UTC))
    response = getattr(exc, "response", None)
    botocore = response.get("ResponseMetadata", {}).get("HTTPHeaders") if isinstance(response, Mapping) else None
    for headers in (getattr(response, "headers", None), botocore, getattr(exc, "headers", None)):
        text = _header(headers)
        if text is not None:
            return _parse(text, now or datetime.now(UTC))
    return None


def _header(headers: Any) -> str | None:
    if not hasattr(headers, "get"):
        return None
    value = headers.get("Retry-After") or headers.get("retry-after")
    return str(value).strip() if value is not None else None


def _parse(text: str, now: datetime) -> float | None:
    try:
        return _bounded(float(text))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return _bounded((when - now).total_seconds())


def _bounded(seconds: float) -> float | None:
    if math.isnan(seconds):
        return None
    return min(max(seconds, 0.0), RETRY_AFTER_MAX)
