"""For ``MIDDLEWARE``: what a request enqueues says who asked for it, and what is locked or away is said so."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponseBase

from django_task_safety.context import requested_by
from django_task_safety.errors import ObjectLocked
from django_task_safety.views import refusals

logger = logging.getLogger("django_task_safety")


class TaskSafetyMiddleware:
    """Notes the request's user for the operations that the request enqueues; after ``AuthenticationMiddleware``.

    The user is asked for only where something is enqueued, so that a request that enqueues nothing reads no session.
    A view that lets ``ObjectLocked`` out is answered with a 409, which says what is pending that the user may see.
    A page of this app's, those of the admin included, whose database does not answer, is a 503.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self._is_async:
            return self._acall(request)
        with requested_by(getattr(request, "user", None)):
            response: HttpResponseBase = self._get_response(request)
            return response

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        with requested_by(getattr(request, "user", None)):
            response: HttpResponseBase = await self._get_response(request)
            return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponseBase | None:
        """Answer a refused delete, save or lock, and for our own pages a database that is down; leave every other
        exception to Django."""
        if isinstance(exception, ObjectLocked):
            return refusals.locked(request, exception)
        if isinstance(exception, OperationalError | InterfaceError) and _is_ours(request):
            logger.error("%s cannot be shown", request.path, exc_info=exception)
            return refusals.unavailable(request)
        return None


def _is_ours(request: HttpRequest) -> bool:
    match = request.resolver_match
    return match is not None and (
        "task_safety" in match.app_names
        or ("admin" in match.app_names and str(match.url_name).startswith("django_task_safety_"))
    )
