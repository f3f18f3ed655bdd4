"""JSON or HTML, a whole page or a region of one, and whether it is what the client has already."""

import hashlib
from collections.abc import Iterable
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.cache import get_conditional_response, patch_cache_control, patch_vary_headers

_HTML, _JSON = "text/html", "application/json"
#: What the script says of itself that asks for regions.
_LIVE = "task-safety-live"


def wants_html(request: HttpRequest) -> bool:
    """Return whether the client would rather have HTML than JSON, which whoever takes anything gets."""
    return request.get_preferred_type([_JSON, _HTML]) == _HTML


def wants_region(request: HttpRequest) -> bool:
    """Return whether the page's own script asks for one of its regions."""
    return request.headers.get("X-Requested-With") == _LIVE


def polled(
    request: HttpRequest, response: HttpResponse, next_poll: int | None, same: Iterable[Any] = ()
) -> HttpResponseBase:
    """Return the response to a client that asks again and again: a 304 where it has that already.

    Args:
        next_poll: In how many seconds it is worth asking again; None where nothing will change.
        same: What makes two answers the same, where that is not their content.
    """
    made_of = b"\0".join(str(part).encode() for part in same) or response.content
    response.headers["ETag"] = f'W/"{hashlib.blake2b(made_of, digest_size=16).hexdigest()}"'
    answer = get_conditional_response(request, response.headers["ETag"], None, response) or response
    if next_poll is not None:
        answer.headers["Retry-After"] = str(next_poll)
    return private(answer)


def private(response: HttpResponseBase) -> HttpResponseBase:
    """Return the response, which no cache may keep for others, and whose address no other site is told."""
    patch_cache_control(response, private=True, no_cache=True)
    patch_vary_headers(response, ("Accept", "Cookie", "X-Requested-With"))
    response.headers.setdefault("Referrer-Policy", "same-origin")
    return response
