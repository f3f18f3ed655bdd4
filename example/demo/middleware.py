from collections.abc import Callable

from django.contrib.auth import get_user_model, login
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse

GUEST = "guest"
NO_TABLES = "The tables are missing. Run `python example/manage.py migrate`, or see it all with `… demo`.\n"


class GuestMiddleware:
    """Whoever looks at the pages without having logged in is the guest, so that operations know who asked for them."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            if not request.path.startswith(("/admin/", "/static/")) and not request.user.is_authenticated:
                guest, _ = get_user_model().objects.get_or_create(username=GUEST)
                login(request, guest)
        except OperationalError as problem:
            if "no such table" in str(problem):
                return HttpResponse(NO_TABLES, status=503, content_type="text/plain; charset=utf-8")
            # The view finds out by itself, and the pages of operations have an answer to it.
        return self._get_response(request)
