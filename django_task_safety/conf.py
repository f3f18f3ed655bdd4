"""The settings dict ``TASK_SAFETY``: its keys, defaults and validation."""

import dataclasses
import math
import re
from datetime import timedelta
from functools import lru_cache
from typing import Any

from django.conf import settings

from django_task_safety.errors import InvalidSetting, did_you_mean

#: Seconds: a hundred years, beyond which a duration is a mistake, and more than some databases and threads can count.
LONGEST = 100 * 366 * 86_400.0


@dataclasses.dataclass(frozen=True, slots=True)
class Conf:
    """All settings with their defaults. Durations are seconds (numbers) or timedeltas in the settings, seconds here."""

    #: Alias of the database that holds the operations; G1 is promised for writes to this one.
    DATABASE: str = "default"
    #: Seconds a running attempt owns its operation without a renewal.
    LEASE: float = 30.0
    #: Seconds between two looks of a worker's keeper at the table.
    SWEEP_INTERVAL: float = 5.0
    #: Seconds a due operation may stay unclaimed before it is published again (doubles with each time).
    REPUBLISH_AFTER: float = 60.0
    #: A longer countdown, ETA or backoff (seconds) stays in the database instead of the broker.
    MAX_BROKER_DELAY: float = 60.0
    #: Seconds an ended operation is kept; None keeps it for ever.
    RETENTION: float | None = 30 * 86_400.0
    #: Bytes of serialised arguments that a task accepts.
    MAX_PAYLOAD: int = 65_536
    #: Hard time limit of a task, in seconds; None leaves it to Celery's own settings.
    TIME_LIMIT: float | None = 1_200.0
    #: Soft time limit of a task, in seconds; None leaves it to Celery's own settings.
    SOFT_TIME_LIMIT: float | None = 900.0
    #: Whether workers sweep. Leases are renewed in any case.
    KEEPER: bool = True
    #: Seconds that publishing a message may take in the caller before it is left to the sweeper.
    PUBLISH_TIMEOUT: float = 1.0
    #: How many operations one sweep handles in one transaction.
    SWEEP_BATCH: int = 500
    #: Names of parameters whose values nobody is to read; None: those that Django's error reports hide.
    REDACT: tuple[str, ...] | None = None
    #: Dotted path of ``f(request, operation) -> bool``: who else may see an operation's status. None: nobody else.
    STATUS_PERMISSION: str | None = None
    #: Dotted path of ``f(request) -> bool``: who else may read the metrics. None: nobody else.
    METRICS_PERMISSION: str | None = None


_DEFAULTS: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(Conf)}
_OPTIONAL = {"RETENTION", "TIME_LIMIT", "SOFT_TIME_LIMIT", "REDACT", "STATUS_PERMISSION", "METRICS_PERMISSION"}
_DOTTED_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


@lru_cache(maxsize=1)
def conf() -> Conf:
    """Return the validated settings.

    Raises:
        InvalidSetting: For an unknown key or a value that cannot work.
    """
    return load(getattr(settings, "TASK_SAFETY", {}))


def load(raw: Any) -> Conf:
    """Validate ``raw``, the value of ``settings.TASK_SAFETY``, and return it with the defaults filled in."""
    if not isinstance(raw, dict):
        raise InvalidSetting(f"TASK_SAFETY must be a dict, not {type(raw).__name__}.")
    values: dict[str, Any] = {}
    for key, value in raw.items():
        if key not in _DEFAULTS:
            known = ", ".join(sorted(_DEFAULTS))
            raise InvalidSetting(
                f"TASK_SAFETY[{key!r}] is not a setting.{did_you_mean(str(key).upper(), _DEFAULTS)} Settings: {known}."
            )
        values[key] = _value(key, value)
    if "SOFT_TIME_LIMIT" not in values:
        values["SOFT_TIME_LIMIT"] = below(values.get("TIME_LIMIT"), _DEFAULTS["SOFT_TIME_LIMIT"])
    if "TIME_LIMIT" not in values:
        values["TIME_LIMIT"] = above(values["SOFT_TIME_LIMIT"], _DEFAULTS["TIME_LIMIT"])
    loaded = Conf(**values)
    _consistent(loaded, values)
    return loaded


def below(hard: float | None, soft: float | None) -> float | None:
    """Return the soft time limit, or a tenth less than the hard one where that is not above it."""
    return soft if soft is None or hard is None or soft < hard else hard * 0.9


def above(soft: float | None, hard: float | None) -> float | None:
    """Return the hard time limit, or a ninth more than the soft one where that is not below it."""
    return hard if soft is None or hard is None or soft < hard else soft / 0.9


def _value(key: str, value: Any) -> Any:
    default = _DEFAULTS[key]
    if value is None and key in _OPTIONAL:
        return None
    if key == "REDACT":
        if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
            raise InvalidSetting(f"TASK_SAFETY[{key!r}] must be a list or tuple of parameters' names, not {value!r}.")
        return tuple(value)
    if key.endswith("_PERMISSION"):
        if not isinstance(value, str) or not _DOTTED_PATH.fullmatch(value):
            raise InvalidSetting(
                f"TASK_SAFETY[{key!r}] must be the dotted path of a function, as 'shop.rules.may_see', not {value!r}."
            )
        return value
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise InvalidSetting(f"TASK_SAFETY[{key!r}] must be True or False, not {value!r}.")
        return value
    if isinstance(default, str):
        if not isinstance(value, str) or value not in settings.DATABASES:
            raise InvalidSetting(f"TASK_SAFETY[{key!r}] is {value!r}, which is not in DATABASES.")
        return value
    if isinstance(default, int):
        if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            raise InvalidSetting(f"TASK_SAFETY[{key!r}] must be a positive whole number, not {value!r}.")
        return value
    try:
        return seconds(value)
    except ValueError as exc:
        raise InvalidSetting(f"TASK_SAFETY[{key!r}] must be {exc}.") from None


def seconds(value: Any) -> float:
    """Return a duration, given as a positive number of seconds or a timedelta, in seconds.

    Raises:
        ValueError: For anything else: zero, negative durations and those beyond `LONGEST` included.
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise ValueError(f"a positive number of seconds or a positive timedelta, not {value!r}")
    if value > LONGEST:
        raise ValueError(f"at most a hundred years, not {value!r} seconds")
    return float(value)


def _consistent(loaded: Conf, given: dict[str, Any]) -> None:
    soft, hard = loaded.SOFT_TIME_LIMIT, loaded.TIME_LIMIT
    if soft is not None and hard is not None and soft >= hard:
        raise InvalidSetting(
            f"TASK_SAFETY['SOFT_TIME_LIMIT'] ({soft:g} s) must be below TASK_SAFETY['TIME_LIMIT'] ({hard:g} s). "
            "Set both."
        )
    if loaded.LEASE < 3 * 0.1:
        raise InvalidSetting("TASK_SAFETY['LEASE'] must be at least 0.3 seconds: it is renewed every third of it.")


def reset(**kwargs: Any) -> None:
    """Forget the loaded settings; receiver of Django's ``setting_changed``."""
    if kwargs.get("setting", "TASK_SAFETY") in {"TASK_SAFETY", "DATABASES"}:
        conf.cache_clear()
