"""What the pages have in common."""

from collections.abc import Callable

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme


def back(request: HttpRequest) -> HttpResponse:
    """Return to the page that the button was on."""
    page = request.headers.get("Referer", "")
    return redirect(page if url_has_allowed_host_and_scheme(page, {request.get_host()}) else "notes")


def number(text: str, usual: int, most: int) -> int:
    """Return the number that a visitor gave, between 1 and the most; the usual one where it is none."""
    return min(max(int(text), 1), most) if text.isascii() and text.isdigit() and len(text) < 10 else usual


def on_plain_celery(request: HttpRequest, call: Callable[[], object]) -> None:
    """Do the same there; its failure is what its user would see."""
    try:
        call()
    except Exception as problem:
        messages.warning(request, f"Plain Celery could not be told, so there it is lost: {problem}")
