"""What can be checked before the apps are ready, and where this one is not installed."""

from typing import Any

from django.apps import apps
from django.conf import settings
from django.core import checks

from django_task_safety.conf import load
from django_task_safety.errors import InvalidSetting


def register() -> None:
    """Register what can be checked before the app is ready, or where it was not installed at all."""
    registered: set[Any] = checks.registry.registry.registered_checks
    if check_settings not in registered:
        checks.register(check_settings, "task_safety")


def check_settings(**kwargs: Any) -> list[checks.CheckMessage]:
    """TASK_SAFETY is valid (E001), and the app is installed (E002)."""
    problems: list[checks.CheckMessage] = []
    try:
        load(getattr(settings, "TASK_SAFETY", {}))
    except InvalidSetting as exc:
        hint = "The settings, and what each takes, are listed in the reference."
        problems.append(checks.Error(str(exc), hint=hint, id="task_safety.E001"))
    if not apps.is_installed("django_task_safety"):
        text = "'django_task_safety' is not in INSTALLED_APPS."
        hint = "Add it and run migrate; safe tasks keep their operations in its table."
        problems.append(checks.Error(text, hint=hint, id="task_safety.E002"))
    return problems
