"""``{% load task_safety %}``: the status of operations inside a project's own pages."""

from typing import Any

from django import template
from django.db.models import Model
from django.http import HttpRequest
from django.template.context import Context
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

from django_task_safety.errors import InvalidArguments, UrlsNotIncluded
from django_task_safety.models import Operation
from django_task_safety.views import access, representation

register = template.Library()

#: How many operations `operations_of` shows.
SHOWN = 10


@register.inclusion_tag("django_task_safety/operation_progress.html", takes_context=True)
def operation_progress(context: Context, operation: Any) -> dict[str, Any]:
    """Show an operation's state and progress, live, to whoever sees the page; nothing where there is no operation.

    Raises:
        InvalidArguments: If it is none.
    """
    if not operation:
        return {}
    if not isinstance(operation, Operation):
        raise InvalidArguments(f"operation_progress takes an operation, not {type(operation).__name__}.")
    request = _request(context)
    shown = {**representation.for_template(request, operation), **_around(context)}
    if address := _address(request, operation):
        shown["live"] = address
        shown["links"] = {**shown["links"], "self": address}
    return shown


@register.inclusion_tag("django_task_safety/operations_of.html", takes_context=True)
def operations_of(context: Context, obj: Any) -> dict[str, Any]:
    """Show what is pending on an object, oldest first. Of operations that who asks may not see, only the state.

    Raises:
        InvalidArguments: If ``obj`` is no model instance.
    """
    if obj is None or obj == "" or (isinstance(obj, Model) and obj.pk is None):
        return {}
    request = _request(context)
    pending = representation.shown(Operation.objects.for_object(obj).pending()).order_by("pk")
    found = list(pending[: SHOWN + 1])
    entries = [_entry(request, one) for one in found[:SHOWN]]
    return {"entries": entries, "more": len(found) > SHOWN, **_around(context)}


@register.simple_tag(takes_context=True)
def task_safety_script(context: Context) -> SafeString:
    """Include the script that keeps regions live, with the nonce of Django's content security policy, if any."""
    nonce, source = context.get("csp_nonce"), static("django_task_safety/live.js")
    # Django's nonce counts as false until it is used.
    if nonce is None or nonce == "":
        return format_html('<script src="{}" defer></script>', source)
    return format_html('<script src="{}" defer nonce="{}"></script>', source, nonce)


def _request(context: Context) -> HttpRequest | None:
    request: HttpRequest | None = getattr(context, "request", None) or context.get("request")
    return request


def _around(context: Context) -> dict[str, Any]:
    """Return what the templates take from the page around them."""
    request = _request(context)
    here = request.get_full_path() if request is not None else ""
    return {"request": request, "csp_nonce": context.get("csp_nonce"), "next": here}


def _entry(request: HttpRequest | None, operation: Operation) -> dict[str, Any]:
    shown = representation.for_template(request, operation)
    return {**shown, "open": request is None or access.may_see(request, operation)}


def _address(request: HttpRequest | None, operation: Operation) -> str:
    """Return where the page's script finds the operation. Who sees the page may see it there, too: to those who did not
    ask for it a signed link says so."""
    own = request is not None and access.is_own(request, operation)
    try:
        return operation.status_url(signed=not own)
    except UrlsNotIncluded:
        return ""
