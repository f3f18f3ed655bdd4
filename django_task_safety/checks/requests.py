"""Checks of what notes who asks for an operation."""

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.urls import NoReverseMatch, reverse
from django.utils.module_loading import import_string

from django_task_safety.checks.findings import CannotTell, Finding, about, warning
from django_task_safety.checks.project import Project

_OURS = "django_task_safety.middleware.TaskSafetyMiddleware"
_DJANGOS = "django.contrib.auth.middleware.AuthenticationMiddleware"


@about("task_safety.W012")
def check_order(project: Project) -> Iterator[Finding]:
    """Our middleware finds the request's user, which another one sets before it."""
    found = _middleware()
    if _OURS not in found:
        return
    if _DJANGOS not in found:
        why = "whether a middleware before TaskSafetyMiddleware sets request.user, as AuthenticationMiddleware would"
        yield CannotTell(("task_safety.W012",), why)
    elif found.index(_OURS) < found.index(_DJANGOS):
        yield warning(
            "TaskSafetyMiddleware stands before AuthenticationMiddleware: it finds no user, and operations do not say "
            "who asked for them.",
            "Put it below AuthenticationMiddleware in MIDDLEWARE.",
            "task_safety.W012",
        )


@about("task_safety.W013")
def check_presence(project: Project) -> Iterator[Finding]:
    """Pages about one's own operations need somebody who notes whose they are."""
    if _OURS in _middleware():
        return
    try:
        reverse("task_safety:mine")
    except NoReverseMatch:
        return
    yield warning(
        "The URLs of django_task_safety are included, but TaskSafetyMiddleware is not in MIDDLEWARE: what requests "
        "enqueue says of nobody that he asked for it, and users do not see their own operations.",
        "Add it below AuthenticationMiddleware. Silence this where every call names its user.",
        "task_safety.W013",
    )


def _middleware() -> list[str]:
    """Return the middleware by name, where one derives from ours or Django's by theirs."""
    return [_known(path) for path in settings.MIDDLEWARE]


def _known(path: str) -> str:
    if path in (_OURS, _DJANGOS):
        return path
    found: Any = import_string(path)
    bases = [f"{base.__module__}.{base.__qualname__}" for base in getattr(found, "__mro__", ())]
    return next((name for name in bases if name in (_OURS, _DJANGOS)), path)
