"""Values that nobody is to read are masked in every text that is kept or logged while their call is made or run."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any
from urllib.parse import quote, quote_plus
from uuid import UUID

#: What people read instead.
MASK = "•••"
#: A text shorter than this is masked only where it stands alone: else no word would be left of what was said.
_SHORT = 4

#: Returns the values to hide; asked only where there is a text to look through.
Source = Callable[[], Iterable[Any]]
_sources: ContextVar[tuple[Source, ...]] = ContextVar("django_task_safety_masked", default=())


class _Masked(str):
    """Shows as the mask in a ``repr`` as well."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


#: Stands for a value among others.
MASKED = _Masked(MASK)


def hide(source: Source) -> Token[Any]:
    """Mask also these values from now on, until `show` gets the token, in this thread or greenlet."""
    return _sources.set((*_sources.get(), source))


def show(token: Token[Any]) -> None:
    """Mask what was masked before."""
    _sources.reset(token)


@contextmanager
def hiding(source: Source) -> Iterator[None]:
    """Mask also these values during the block."""
    token = hide(source)
    try:
        yield
    finally:
        show(token)


def mask(text: str) -> str:
    """Return the text without the values that are to be hidden here."""
    sources = _sources.get()
    pattern = _pattern(value for source in sources for value in source()) if sources else None
    return pattern.sub(MASK, text) if pattern else text


def mask_all(value: Any) -> Any:
    """Return plain data without the values that are to be hidden here, at any depth of lists, tuples and dicts."""
    if isinstance(value, dict):
        return {mask_all(key): mask_all(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [mask_all(item) for item in value]
    if isinstance(value, str):
        return mask(value)
    return value if isinstance(value, bool | None) or mask(str(value)) == str(value) else MASK


def _pattern(values: Iterable[Any]) -> re.Pattern[str] | None:
    texts = {text for value in values for text in _texts(value) if text.strip()}
    # The longest first: one may be part of another.
    parts = [_part(text) for text in sorted(texts, key=len, reverse=True)]
    return re.compile("|".join(parts)) if parts else None


def _part(text: str) -> str:
    # A repr in a repr escapes quotes, and what is escaped, once more.
    part = "".join(rf"\\*{re.escape(char)}" if char in "'\"\\" else re.escape(char) for char in text)
    return rf"(?<!\w){part}(?!\w)" if len(text) < _SHORT else part


def _texts(value: Any) -> Iterator[str]:
    """Yield the ways in which a value is written: as it is, in a ``repr``, in JSON and in a URL."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield from (value, repr(value)[1:-1], json.dumps(value)[1:-1])
        plain = value.encode("utf-8", "surrogatepass")
        yield from (quote(plain, safe=""), quote_plus(plain))
    elif isinstance(value, bytes):
        yield from (repr(value)[2:-1], value.decode("utf-8", "replace"))
    elif not isinstance(value, bool | None):
        yield from (str(value), repr(value))
        if isinstance(value, UUID):
            yield value.hex
