"""Values to text and back, with the serialisers that Celery uses for its messages and results.

JSON is stored as it is; anything else as ``!content-type!encoding!base64``, which JSON cannot begin with.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from kombu import serialization

from django_task_safety.errors import InvalidPayload
from django_task_safety.texts import storable
from django_task_safety.values import masking

if TYPE_CHECKING:
    from celery import Celery

_JSON = "application/json"
#: Of a longer text the beginning is kept: a statement may be only so large.
LONGEST_TEXT = 100_000
#: What the columns for names hold.
LONGEST_NAME = 255


def dumps(value: Any, serializer: str) -> str:
    """Return ``value`` as text, encoded by the named kombu serialiser. Raises `InvalidPayload` if the serialiser
    refuses the value."""
    try:
        content_type, encoding, data = serialization.dumps(value, serializer=serializer)
    except Exception as exc:
        raise InvalidPayload(
            f"Cannot be serialised as {serializer}: {text_of(exc)}. "
            "Pass ids or plain values, or use another serializer."
        ) from exc
    if content_type == _JSON and isinstance(data, str) and "\x00" not in data and data.isascii():
        return data
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    return f"!{content_type}!{encoding}!{base64.b64encode(raw).decode('ascii')}"


def loads(text: str, app: Celery | None = None, *, results: bool = False) -> Any:
    """Return the value that `dumps` turned into ``text``.

    Args:
        app: Whose settings say which serialisers to trust besides JSON.
        results: Whether it is a result, for which another setting may hold.

    Raises:
        InvalidPayload: If it cannot be read back.
    """
    try:
        if not text.startswith("!"):
            return serialization.loads(text, _JSON, "utf-8", accept={_JSON})
        _, content_type, encoding, data = text.split("!", 3)
        trusted = _trusted(app, results) | {_JSON}
        return serialization.loads(base64.b64decode(data), content_type, encoding, accept=trusted)
    except Exception as exc:
        raise InvalidPayload(f"Was serialised but cannot be read back: {text_of(exc)}") from exc


def _trusted(app: Celery | None, results: bool) -> set[str]:
    if app is None:
        return set()
    names = (app.conf.result_accept_content if results else None) or app.conf.accept_content
    return set(serialization.prepare_accept_content(names) or ())


def one_line(text: str) -> str:
    """Return ``text`` without control characters, which could forge lines of a log."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def describe(exc: BaseException) -> str:
    """Return ``"ClassName: text"`` of an exception, as `printable` text."""
    return printable(f"{type(exc).__name__}: {text_of(exc)}")


def text_of(exc: BaseException) -> str:
    """Return the text of an exception, as `printable` text, whatever its class does when it is asked for that."""
    try:
        message = getattr(exc, "message", None)
        return printable(message if isinstance(message, str) else str(exc), LONGEST_TEXT)
    except Exception as problem:
        return f"<no text: {type(problem).__name__}>"


def quoted(value: object) -> str:
    """Return what an error says of an argument: the beginning of its ``repr``, as `printable` text."""
    return printable(repr(value), 80)


def printable(text: object, limit: int | None = None) -> str:
    """Return ``text`` as something every database stores: no NUL, no lone surrogates, at most ``limit`` characters.

    What nobody is to read is masked in it.
    """
    clean = storable(masking.mask(str(text)))
    if limit is not None and len(clean) > limit:
        return clean[: limit - 1] + "…"
    return clean


def is_name(value: object) -> bool:
    """Return whether every database stores the value as a name."""
    return isinstance(value, str) and 0 < len(value) <= LONGEST_NAME and storable(value) == value


def in_ascii(text: str) -> str:
    """Return ``text`` as something that is stored in every character set."""
    return text.encode("ascii", "backslashreplace").decode("ascii")
