"""The parts of a page that keep themselves up to date."""

from __future__ import annotations

import hashlib
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.cache import get_conditional_response, patch_cache_control

#: Seconds between two looks at what always changes.
LOOK = 5


def fragment(request: HttpRequest, template: str, context: dict[str, Any], again: int | None) -> HttpResponse:
    """Return a part of a page, or that it is the same as before.

    Args:
        again: After how many seconds it is worth asking again; None: never.
    """
    content = render_to_string(template, context, request)
    tag = f'"{hashlib.sha256(content.encode()).hexdigest()[:32]}"'
    response = HttpResponse(content, headers={"ETag": tag})
    answer = get_conditional_response(request, etag=tag, response=response) or response
    if again is not None:
        answer["Retry-After"] = str(again)
    patch_cache_control(answer, private=True, no_cache=True)
    found: HttpResponse = answer
    return found
