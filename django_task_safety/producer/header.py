"""The message header that names the row, and proves that the message is as it was published for it."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.utils.crypto import constant_time_compare, salted_hmac
from kombu.utils.json import dumps

from django_task_safety.record import AbstractOperation
from django_task_safety.values.clock import as_aware

HEADER = "task_safety"
_SALT = "django_task_safety.header"
#: Where the header says since when it is due.
DUE = "due"
#: Where the header keeps its digest.
_DIGEST = "sig"


def make(
    operation: AbstractOperation, args: Sequence[Any], kwargs: Mapping[str, Any], eta: datetime | None = None
) -> dict[str, Any]:
    """Return the header of an operation's message with these arguments, to be run from ``eta`` on, or at once."""
    header = {"op": str(operation.pk), "rev": operation.revision, "att": operation.attempt, "key": operation.key}
    header[DUE] = _due(operation, eta)
    more = {"gen": operation.generation, "ver": operation.version, "max": operation.max_attempts}
    for name, value in {**more, "by": operation.requested_by}.items():
        if value:
            header[name] = value
    for name in ("waits_for", "parent_id"):
        if (value := getattr(operation, name)) is not None:
            header[name] = str(value)
    digest = _digest(header, args, kwargs)
    return {**header, _DIGEST: digest} if digest else header


def _due(operation: AbstractOperation, eta: datetime | None) -> float:
    """Return since when it is due, in seconds of the epoch: for who measures, and nobody else."""
    stored = vars(operation).get("available_at")  # an expression where it was just asked for
    due = as_aware(stored) if isinstance(stored, datetime) else eta
    return round(time.time() if due is None else due.timestamp(), 3)


def is_genuine(header: Mapping[str, Any], args: Any, kwargs: Any) -> bool:
    """Return whether the message was published with this header and these arguments, by somebody who knows SECRET_KEY.

    Where that cannot be told, it is not: of arguments that JSON does not know, or after the key was changed.
    """
    said, known = header.get(_DIGEST), {name: value for name, value in header.items() if name != _DIGEST}
    if not isinstance(said, str):
        return False
    digest = _digest(known, args, kwargs)
    return bool(digest) and constant_time_compare(said, digest)


def _digest(header: Mapping[str, Any], args: Any, kwargs: Any) -> str:
    try:
        # Sorted: a serialiser may bring a dict back in another order.
        text = dumps([header, args, kwargs], sort_keys=True)
    except Exception:
        return ""
    return salted_hmac(_SALT, text, algorithm="sha256").hexdigest()
