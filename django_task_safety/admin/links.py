"""Names that lead somewhere in the admin, for those who may go there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.apps import apps
from django.contrib.admin.utils import quote
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.text import capfirst

from django_task_safety.models import Operation, Worker
from django_task_safety.values import codec


def url_of(site: Any, meta: Any, page: str, *args: Any) -> str:
    """Return the address of a model's page in a site of the admin. Raises `NoReverseMatch` where it has none."""
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_{page}", args=args, current_app=site.name)


def list_url(site: Any, **query: str) -> str:
    """Return the address of the list of operations, filtered; "" where the site has none."""
    try:
        return f"{url_of(site, Operation._meta, 'changelist')}?{urlencode(query)}"
    except NoReverseMatch:
        return ""


def operation_url(site: Any, pk: Any, page: str = "change") -> str:
    """Return the address of an operation's page, or of one that does something with it; "" where the site has none."""
    try:
        return url_of(site, Operation._meta, page, quote(pk))
    except NoReverseMatch:
        return ""


def object_link(site: Any, request: Any, operation: Operation) -> str:
    """Return the name of an operation's object, a link where it has a page that the user may see. Nothing is loaded:
    the object may be gone, or in a database that does not answer."""
    if not operation.subject_label:
        return ""
    try:
        model = apps.get_model(operation.subject_label)
    except LookupError:
        return f"{operation.subject_label} {operation.subject_id}"
    name = f"{capfirst(str(model._meta.verbose_name))} {operation.subject_id}"
    if site.is_registered(model) and site.get_model_admin(model).has_view_or_change_permission(request):
        url = url_of(site, model._meta, "change", quote(operation.subject_id))
        return format_html('<a href="{}">{}</a>', url, name)
    return name


def worker_link(site: Any, request: Any, identity: str) -> str:
    """Return the name of a worker, a link where it has a page that the user may see."""
    if identity and site.is_registered(Worker) and site.get_model_admin(Worker).has_view_permission(request):
        return format_html('<a href="{}">{}</a>', url_of(site, Worker._meta, "change", quote(identity)), identity)
    return identity


def user_names(keys: Iterable[str]) -> dict[str, str]:
    """Return the names of users by their primary keys, as texts: one statement."""
    users = get_user_model()
    field, found = users._meta.pk, {}
    for key in set(keys) - {""}:
        try:
            found[key] = field.to_python(key)
        except ValidationError:
            continue  # somebody who is no user of the project
    if not found:
        return {}
    named = {
        user.pk: codec.one_line(user.get_username()) for user in users._default_manager.filter(pk__in=found.values())
    }
    return {key: named[pk] for key, pk in found.items() if pk in named}


def requester_link(site: Any, key: str, names: dict[str, str]) -> str:
    """Return the name of who asked for an operation, a link to all that they asked for."""
    if not key:
        return ""
    url, name = list_url(site, requested_by=key), names.get(key, key)
    return format_html('<a href="{}">{}</a>', url, name) if url else name
