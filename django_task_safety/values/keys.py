"""Idempotency keys: canonical, typed, and the same in the caller and in the worker.

A value becomes text that says its type, so that ``1``, ``"1"``, ``True`` and ``1.0`` differ and no two different
argument lists share one. The text is hashed with SHA-256 for the unique column; the readable form is for people.
"""

import base64
import hashlib
import inspect
import json
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django_task_safety.errors import InvalidKey, TaskSafetyError
from django_task_safety.values.identity import Identity
from django_task_safety.values.references import Reference

#: What `idempotent_task(key=...)` takes.
KeyOption = str | Iterable[str] | Callable[..., Any] | None


def bind(signature: inspect.Signature, args: Iterable[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments by parameter name, defaults applied; raise TypeError if they do not fit."""
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)


def select(option: KeyOption, arguments: Mapping[str, Any]) -> Any:
    """Return the value that identifies the work: the one that ``option`` picks from the bound arguments. Raises
    `InvalidKey` if the key function fails."""
    if option is None:
        return dict(arguments)
    if isinstance(option, str):
        return arguments[option]
    if callable(option):
        try:
            return option(**arguments)
        except TaskSafetyError:
            raise
        except Exception as exc:
            raise InvalidKey(f"The key function failed: {type(exc).__name__}: {exc}") from exc
    return [arguments[name] for name in option]


def canonical(value: Any) -> Any:
    """Return ``value`` as nested lists and strings in which everything carries its type. Raises `InvalidKey` for a
    value that has no stable identity (NaN, or a type that no serialiser keeps apart)."""
    if value is None or isinstance(value, bool):
        return ["b", repr(value)]
    if isinstance(value, Mapping):
        pairs = [[canonical(key), canonical(item)] for key, item in value.items()]
        return ["m", sorted(pairs, key=lambda pair: json.dumps(pair[0]))]
    if isinstance(value, list | tuple):
        return ["l", [canonical(item) for item in value]]
    if isinstance(value, set | frozenset):
        return ["e", sorted((canonical(item) for item in value), key=json.dumps)]
    return _scalar(value)


def _scalar(value: Any) -> list[str]:
    if isinstance(value, str):
        return ["s", str(value)]
    if isinstance(value, int):
        return ["i", str(int(value))]
    if isinstance(value, float):
        if math.isnan(value):
            raise InvalidKey("NaN cannot be part of a key: it does not equal itself.")
        return ["f", repr(value + 0.0 if value else 0.0)]
    if isinstance(value, bytes):
        return ["y", base64.b64encode(value).decode("ascii")]
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise InvalidKey(f"{value} cannot be part of a key.")
        return ["d", str(value.normalize() if value else Decimal(0))]
    if isinstance(value, UUID):
        return ["u", value.hex]
    if isinstance(value, datetime | date | time):
        return [type(value).__name__, value.isoformat()]
    if isinstance(value, timedelta):
        return ["t", repr(value.total_seconds())]
    if isinstance(value, Reference):
        return ["r", *value.identity]
    raise InvalidKey(
        f"A {type(value).__name__} cannot be part of a key. Return numbers, text, dates, UUIDs, model instances, "
        "or lists and dicts of them."
    )


def digest(*parts: Any) -> str:
    """Return the SHA-256 of the canonical form of ``parts``: 64 lower-case hexadecimal characters."""
    text = json.dumps([canonical(part) for part in parts], separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def slot(identity: Identity, name: str) -> str:
    """Return what at most one pending operation has: the digest of an object and the name of a lock on it."""
    return digest(*identity, name)


def readable(value: Any) -> str:
    """Return a key as people read it: plain values as they are, everything else as JSON."""
    if isinstance(value, Reference):
        return f"{value.label}:{value.pk}"
    if isinstance(value, str):
        return value
    sortable = isinstance(value, dict) and all(isinstance(key, str) for key in value)
    return json.dumps(value, default=_readable_default, sort_keys=sortable, ensure_ascii=False)


def _readable_default(value: Any) -> str:
    return f"{value.label}:{value.pk}" if isinstance(value, Reference) else str(value)
