"""What somebody is told whose request was refused because of an operation: only of operations that he may see."""

from collections.abc import Iterable
from typing import Any

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _

from django_task_safety.errors import ObjectLocked
from django_task_safety.models import Operation
from django_task_safety.views import access, representation
from django_task_safety.views.negotiation import private, wants_html, wants_region

#: Why nothing was done to an object that is locked.
LOCKED = _("Work is pending on this. Try again when it is done.")
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


def visible(request: HttpRequest, operations: Iterable[Any]) -> list[Operation]:
    """Return those of the operations that who asks may see, oldest first, as the error carries them."""
    # One whose row is not committed yet has no page.
    there = sorted((one for one in operations if not one._state.adding), key=lambda one: one.pk)[:_NAMED]
    try:
        return [one for one in there if access.may_see(request, one)]
    except DatabaseError:  # the request's transaction is over, and its permissions were not read before
        return []
