"""What somebody is told whose request was refused because of an operation, only of operations that he may see; or
because the database is away."""

from collections.abc import Iterable
from typing import Any

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.translation import gettext_lazy as _

from django_task_safety.errors import ObjectLocked
from django_task_safety.models import Operation
from django_task_safety.views import access, representation
from django_task_safety.views.negotiation import private, wants_html, wants_region

#: Why nothing was done to an object that is locked.
LOCKED = _("Work is pending on this. Try again when it is done.")
#: What is said while the database does not answer, and in how many seconds it is worth asking again.
UNAVAILABLE = _("This is not available at the moment. Try again in a little while.")
_AGAIN = 10
#: How many operations are named.
_NAMED = 10


def locked(request: HttpRequest, refusal: ObjectLocked) -> HttpResponseBase:
    """Return a 409 that says why: a page, or JSON."""
    named = visible(request, refusal.protected_objects)
    if wants_html(request) or wants_region(request):
        shown = [representation.for_template(request, one) for one in named]
        context = {"detail": LOCKED, "operations": shown}
        return private(render(request, "django_task_safety/locked.html", context, status=409))
    told = [representation.as_json(request, one) for one in named]
    return private(JsonResponse({"detail": LOCKED, "operations": told}, status=409))


def unavailable(request: HttpRequest) -> HttpResponseBase:
    """Return a 503: a page, or JSON. Nothing of the project's is asked for it, which may need the database."""
    answer: HttpResponse = JsonResponse({"detail": UNAVAILABLE}, status=503)
    if wants_html(request) or wants_region(request):
        page = render_to_string("django_task_safety/unavailable.html", {"detail": UNAVAILABLE})
        answer = HttpResponse(page, status=503)
    answer.headers["Retry-After"] = str(_AGAIN)
    return private(answer)


def visible(request: HttpRequest, operations: Iterable[Any]) -> list[Operation]:
    """Return those of the operations that who asks may see, oldest first, as the error carries them."""
    # One whose row is not committed yet has no page.
    there = sorted((one for one in operations if not one._state.adding), key=lambda one: one.pk)[:_NAMED]
    try:
        return [one for one in there if access.may_see(request, one)]
    except DatabaseError:  # the request's transaction is over, and its permissions were not read before
        return []
