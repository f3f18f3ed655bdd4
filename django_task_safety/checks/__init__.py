"""Django system checks: what makes the guarantees void, found before it does."""

from __future__ import annotations

from typing import Any

from django.core import checks

from django_task_safety.checks.installation import check_broker, check_database, check_settings
from django_task_safety.checks.models import check_models
from django_task_safety.checks.policies import check_keys, check_policies


def register() -> None:
    """Register the checks."""
    found = {
        "task_safety": (check_settings, check_broker, check_policies, check_keys),
        "models": (check_models,),
        "database": (check_database,),
    }
    for check, tag in [(check, tag) for tag, checked in found.items() for check in checked]:
        registered: set[Any] = checks.registry.registry.registered_checks
        if check not in registered:
            checks.register(check, tag)
