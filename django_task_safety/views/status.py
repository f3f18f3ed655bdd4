"""The status of an operation for who asked for it, and for whom else that is open: one address each, JSON or HTML."""

from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, JsonResponse
from django.middleware.csrf import get_token
from django.shortcuts import render
from django.utils.http import url_has_allowed_host_and_scheme, urlencode
from django.utils.translation import gettext
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_POST, require_safe

from django_task_safety.models import Operation
from django_task_safety.values import status_links
from django_task_safety.views import access, representation
from django_task_safety.views.negotiation import polled, private, wants_html, wants_region

#: Operations on one page of somebody's own.
PAGE = 25


@require_safe
def operation(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """Show an operation's status, by one query beside the session's and the user's."""
    found = access.find(request, representation.with_results(Operation.all_rows), pk)
    if found is None:
        return not_found(request)
    if not (wants_region(request) or wants_html(request)):
        told = representation.as_json(request, found)
        next_poll = told["next_poll"]
        return polled(request, JsonResponse(told), next_poll, same=({**told, "next_poll": None},))
    shown = representation.for_template(request, found)
    return _html(request, "operation", shown, shown["next_poll"], with_form=shown["can_cancel"])


@require_POST
@csrf_protect
def cancel(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """Cancel an operation; one that has ended stays as it is."""
    operations = representation.shown(Operation.all_rows)
    found = access.find(request, operations, pk)
    if found is None or not access.may_cancel(request, found):
        return not_found(request)
    cancelled = found.cancel(by=access.asker(request))
    if wants_html(request):
        return private(HttpResponseRedirect(_back(request, found)))
    told = representation.as_json(request, operations.get(pk=pk))
    return private(JsonResponse({**told, "cancelled": cancelled}))


@require_safe
def mine(request: HttpRequest) -> HttpResponseBase:
    """List the operations that who is logged in asked for, newest first, page by page."""
    asker, before = access.asker(request), request.GET.get("before", "")
    try:
        older = {"pk__lt": UUID(before)} if before else {}
    except ValueError:
        return not_found(request)
    if not asker:
        return not_found(request)
    own = representation.shown(Operation.objects.requested_by(asker)).filter(**older)
    found = list(own.order_by("-pk")[: PAGE + 1])
    more = f"{status_links.address('mine')}?{urlencode({'before': found[PAGE - 1].pk})}" if len(found) > PAGE else None
    return _list(request, found[:PAGE], more)


def not_found(request: HttpRequest) -> HttpResponseBase:
    """Return the one answer to whoever may not see something, whether it exists or not.

    Raises:
        Http404: To those who want HTML, who get the project's own page.
    """
    if wants_html(request):
        raise Http404(gettext("Not found."))
    return private(JsonResponse({"detail": gettext("Not found.")}, status=404))


def _list(request: HttpRequest, found: list[Operation], more: str | None) -> HttpResponseBase:
    if not (wants_region(request) or wants_html(request)):
        told = [representation.as_json(request, one) for one in found]
        soonest = min((one["next_poll"] for one in told if one["next_poll"]), default=None)
        same = [{**one, "next_poll": None} for one in told]
        return polled(request, JsonResponse({"operations": told, "next": more}), soonest, same=(*same, more))
    shown = [representation.for_template(request, one) for one in found]
    soonest = min((one["next_poll"] for one in shown if one["next_poll"]), default=None)
    context = {"operations": shown, "more": more, "next_poll": soonest, "live": request.get_full_path()}
    return _html(request, "operations", context, soonest)


def _html(
    request: HttpRequest, name: str, context: dict[str, Any], next_poll: int | None, with_form: bool = False
) -> HttpResponseBase:
    if wants_region(request):
        return polled(request, render(request, f"django_task_safety/includes/{name}.html", context), next_poll)
    if not with_form:
        return polled(request, render(request, f"django_task_safety/{name}.html", context), next_poll)
    # The token is another one each time, whose secret stays the same.
    token = get_token(request)
    page: HttpResponse = render(request, f"django_task_safety/{name}.html", {**context, "csrf_token": token})
    same = page.content.decode().replace(token, request.META["CSRF_COOKIE"])
    return polled(request, page, next_poll, same=(same,))


def _back(request: HttpRequest, cancelled: Operation) -> str:
    """Return where the form was, if that is a page of this site, or else the status page."""
    given = request.POST.get("next", "")
    own = url_has_allowed_host_and_scheme(given, {request.get_host()}, require_https=request.is_secure())
    return given if given and own else representation.links(request, cancelled, can_cancel=False)["self"]
