"""All checks, registered when the app is ready."""

from django.core import checks

from django_task_safety.checks import installation
from django_task_safety.checks.installation import check_broker, check_connections, check_database, check_schemas
from django_task_safety.checks.models import check_models
from django_task_safety.checks.policies import check_annotations, check_keys, check_policies


def register() -> None:
    """Register the checks; from `AppConfig.ready`."""
    installation.register()
    for check in (check_broker, check_connections, check_schemas, check_policies, check_keys, check_annotations):
        checks.register(check, "task_safety")
    checks.register(check_models, "models")
    checks.register(check_database, "database")
