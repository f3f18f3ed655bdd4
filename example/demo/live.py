"""Regions of a page that ``live.js`` fetches again."""

import hashlib

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def fragment(request: HttpRequest, template: str, context: dict[str, object], again: int | None = 1) -> HttpResponse:
    """Answer with a region's content, to be asked for again in so many seconds; with None it was the last time."""
    response = render(request, template, context)
    response["ETag"] = f'"{hashlib.sha256(response.content).hexdigest()[:32]}"'
    if request.headers.get("If-None-Match") == response["ETag"]:
        response = HttpResponse(status=304, headers={"ETag": response["ETag"]})
    if again is not None:
        response["Retry-After"] = str(again)
    response["Cache-Control"] = "no-store"
    return response
