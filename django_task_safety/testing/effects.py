"""What a piece of work does outside the database, as others see it: calls to other systems, mail, and messages."""

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

#: An idempotency key in a request, in a header or in its body.
_KEY = re.compile(r"""(?i)idempotency[-_]?key["']?\s*[:=]\s*["']?([^\s"',&}]+)""")
#: What belongs to a key that stands elsewhere.
_IN_KEY = r"""[^\s"',&}]*"""
_REQUEST = re.compile(r"(?m)^(?=(?:GET|HEAD|OPTIONS|POST|PUT|PATCH|DELETE) \S+ HTTP/1)")
_LENGTH = re.compile(r"(?mi)^Content-Length: *(\d+)")
_CHUNKED, _LAST = "chunked", "0\r\n\r\n"
#: Requests that change nothing.
_READS = ("GET ", "HEAD ", "OPTIONS ")
_SHOWN = 200


@dataclasses.dataclass(frozen=True)
class Effect:
    """One thing that was done."""

    kind: str
    text: str
    #: Which connection it was sent on; what is sent in parts is one call.
    stream: str = ""
    #: The idempotency key of the operation that did it.
    key: str = ""
    #: What it takes to do it again: a cache, its method and the arguments.
    details: Any = dataclasses.field(default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.kind}: {' '.join(self.text.split())[:_SHOWN]}"


def calls(effects: Iterable[Effect]) -> Counter[Effect]:
    """Return what others have seen, in whole calls, and how often.

    What only reads is left out, and a call under one idempotency key counts once.
    """
    found: Counter[Effect] = Counter()
    for effect in _whole(effects):
        if effect.kind in ("connection", "cache"):
            continue
        if effect.kind != "call":
            found[Effect(effect.kind, effect.text)] += 1
        elif not effect.text.startswith(_READS):
            key = _key_of(effect)
            call = Effect("call", f"{effect.stream} under the idempotency key {key}" if key else effect.text)
            found[call] = 1 if key else found[call] + 1
    return found


def contradictions(effects: Iterable[Effect]) -> Iterator[str]:
    """Say under which idempotency keys others were told two different things."""
    bodies: dict[tuple[str, str], set[str]] = {}
    for effect in _whole(effects):
        if effect.kind == "call" and (key := _key_of(effect)):
            bodies.setdefault((effect.stream, key), set()).add(effect.text.partition("\r\n\r\n")[2])
    for (stream, key), different in bodies.items():
        if len(different) > 1:
            yield f"~ call: {stream} under the idempotency key {key} with another content"


def repeated(first: Iterable[Effect], again: Iterable[Effect]) -> Iterator[str]:
    """Say which calls were made again."""
    before = calls(first)
    for effect, count in (calls([*first, *again]) - before).items():
        yield f"{effect} {'again' if effect in before else 'in addition'}{_times(count)}"


def changed(expected: Counter[Effect], actual: Counter[Effect]) -> Iterator[str]:
    """Say which calls are missing, and which are too many."""
    for effect, count in (expected - actual).items():
        yield f"- {effect}{_times(count)}"
    for effect, count in (actual - expected).items():
        yield f"+ {effect}{_times(count)}"


def _times(count: int) -> str:
    return "" if count == 1 else f" ({count} times)"


def _whole(effects: Iterable[Effect]) -> Iterator[Effect]:
    streams: dict[str, list[Effect]] = {}
    for effect in effects:
        if effect.stream:
            streams.setdefault(effect.stream, []).append(effect)
        else:
            yield effect
    for stream, parts in streams.items():
        sent = "".join(part.text for part in parts)
        address = stream.rpartition("#")[0]
        for text in filter(None, _REQUEST.split(sent)):
            if not _is_cut_off(text):
                yield Effect("call", text, address, parts[0].key)


def _is_cut_off(text: str) -> bool:
    """Return whether it is a request that nobody acts on, since its sender died before the end of it."""
    head, gap, body = text.partition("\r\n\r\n")
    if not _REQUEST.match(head):
        return False
    if not gap or (_CHUNKED in head and not body.endswith(_LAST)):
        return True
    length = _LENGTH.search(head)
    return length is not None and len(body) < int(length[1])


def _key_of(effect: Effect) -> str:
    if found := _KEY.search(effect.text):
        return found[1]
    # What is added to the operation's own is a part of it: another one in each attempt, where it is their number.
    around = re.search(f"{_IN_KEY}{re.escape(effect.key)}{_IN_KEY}", effect.text) if effect.key else None
    return around[0] if around else ""
