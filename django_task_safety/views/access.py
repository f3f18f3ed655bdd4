"""Who may see an operation, and who may cancel it.

Closed by default. To everybody else an operation that exists is like one that does not, to the byte.
"""

import logging
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from django.utils.module_loading import import_string

from django_task_safety.conf import conf
from django_task_safety.models import Operation
from django_task_safety.values import status_links
from django_task_safety.values.people import text_of_user
from django_task_safety.values.status_links import Grant

logger = logging.getLogger("django_task_safety")


def find(request: HttpRequest, operations: Any, pk: UUID) -> Operation | None:
    """Return the operation with that id among ``operations``, if who asks may see it, by one query."""
    # Whoever asks is looked at in any case: what the session adds to the answer must not tell what exists.
    asker(request)
    found: Operation | None = operations.filter(pk=pk).first()
    return found if found is not None and may_see(request, found) else None


def may_see(request: HttpRequest, operation: Operation) -> bool:
    """Return whether who asks may see the operation's status."""
    return (
        may_cancel(request, operation)
        or is_staff_with(request, "view_operation")
        or granted(request, operation) is not Grant.NOTHING
        or _project_allows("STATUS_PERMISSION", request, operation)
    )


def may_cancel(request: HttpRequest, operation: Operation) -> bool:
    """Return whether who asks may cancel the operation, as long as it is pending."""
    return (
        is_own(request, operation)
        or is_staff_with(request, "cancel_operation")
        or granted(request, operation) is Grant.CANCEL
    )


def is_own(request: HttpRequest, operation: Operation) -> bool:
    """Return whether who asks is who asked for the operation."""
    return bool(asker(request) == operation.requested_by != "")


def asker(request: HttpRequest) -> str:
    """Return the primary key of who is logged in, as text; "" for nobody."""
    user = getattr(request, "user", None)
    return text_of_user(user) if user is not None and user.is_authenticated else ""


def granted(request: HttpRequest, operation: Operation) -> Grant:
    """Return what the signed link allows by which the request came."""
    link = request.GET.get(status_links.PARAMETER, "")
    return status_links.granted(operation.pk, link) if link else Grant.NOTHING


def is_staff_with(request: HttpRequest, permission: str) -> bool:
    """Return whether who asks is staff and has a permission of this app."""
    user: Any = getattr(request, "user", None)
    # A project's own users may be of another kind.
    return bool(getattr(user, "is_staff", False) and user.has_perm(f"django_task_safety.{permission}"))


def may_see_metrics(request: HttpRequest) -> bool:
    """Return whether who asks may read the metrics."""
    return is_staff_with(request, "view_operation") or _project_allows("METRICS_PERMISSION", request)


def _project_allows(setting: str, *asked: Any) -> bool:
    """Ask the project's own rule. One that fails says no; so does one that answers something else than True, such as
    the coroutine of an async function."""
    path = getattr(conf(), setting)
    if path is None:
        return False
    try:
        return import_string(path)(*asked) is True
    except Exception:
        logger.exception("TASK_SAFETY['%s'] (%s) failed, which counts as no", setting, path)
        return False
