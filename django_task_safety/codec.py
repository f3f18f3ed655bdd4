"""Values to text and back, with the serialisers that Celery uses for its messages and results.

JSON is stored as it is; anything else as ``!content-type!encoding!base64``, which JSON cannot begin with.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

from kombu import serialization

from django_task_safety.errors import InvalidPayload

_JSON = "application/json"


def dumps(value: Any, serializer: str) -> str:
    """Return ``value`` as text, encoded by the named kombu serialiser.

    Raises:
        InvalidPayload: If the serialiser refuses the value.
    """
    try:
        content_type, encoding, data = serialization.dumps(value, serializer=serializer)
    except Exception as exc:
        raise InvalidPayload(
            f"Cannot be serialised as {serializer}: {exc}. Pass ids or plain values, or use another serializer."
        ) from exc
    if content_type == _JSON and isinstance(data, str) and "\x00" not in data and data.isascii():
        return data
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    return f"!{content_type}!{encoding}!{base64.b64encode(raw).decode('ascii')}"


def loads(text: str, accept: Iterable[str] | None = None) -> Any:
    """Return the value that `dumps` turned into ``text``.

    Args:
        text: What `dumps` returned.
        accept: The content types or serialiser names to trust besides JSON.

    Raises:
        InvalidPayload: If it cannot be read back.
    """
    try:
        if not text.startswith("!"):
            return serialization.loads(text, _JSON, "utf-8", accept={_JSON})
        _, content_type, encoding, data = text.split("!", 3)
        trusted = set(serialization.prepare_accept_content(accept or ()) or ()) | {_JSON}
        return serialization.loads(base64.b64decode(data), content_type, encoding, accept=trusted)
    except Exception as exc:
        raise InvalidPayload(f"Was serialised but cannot be read back: {exc}") from exc


def printable(text: object, limit: int | None = None) -> str:
    """Return ``text`` as something every database stores: no NUL, no lone surrogates, at most ``limit`` characters."""
    clean = str(text).replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")
    if limit is not None and len(clean) > limit:
        return clean[: limit - 1] + "…"
    return clean
