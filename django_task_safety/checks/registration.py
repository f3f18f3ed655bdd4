"""All checks, registered when the app is ready."""

from typing import Any

from django.conf import settings
from django.core import checks

from django_task_safety.checks import (
    bodies,
    broker,
    celery_settings,
    databases,
    imports,
    installation,
    policies,
    requests,
    safety_settings,
    schedule,
    task_options,
)
from django_task_safety.checks.findings import Check, answers
from django_task_safety.checks.models import check_models
from django_task_safety.checks.project import Project
from django_task_safety.conf import load
from django_task_safety.errors import InvalidSetting

#: Those that are right in development and in tests as well.
ALWAYS: tuple[Check, ...] = (
    imports.check_imports,
    *(requests.check_order, requests.check_presence),
    safety_settings.check_permission,
    *(safety_settings.check_sweeps, safety_settings.check_redacted, safety_settings.check_extended_results),
    *(safety_settings.check_time_zone, safety_settings.check_retention),
    *(broker.check_known, broker.check_late, broker.check_short_waits, broker.check_long_waits),
    *(broker.check_prefetch, broker.check_driver, broker.check_cache),
    *(celery_settings.check_names, celery_settings.check_pickle, celery_settings.check_serializer),
    *(celery_settings.check_expiry, celery_settings.check_connection_loss, celery_settings.check_start),
    *(celery_settings.check_app, celery_settings.check_queues, celery_settings.check_limits),
    *(databases.check_connections, databases.check_schemas, databases.check_router, databases.check_autocommit),
    *(databases.check_sqlite, databases.check_connect_timeout, databases.check_atomic_requests),
    databases.check_greenlets,
    *(policies.check_policies, policies.check_keys, policies.check_annotations),
    *(task_options.check_time_limits, task_options.check_attempts, task_options.check_names),
    *(task_options.check_lost_workers, task_options.check_retry_options, task_options.check_endless_retries),
    *(schedule.check_schedulers, schedule.check_periods, schedule.check_intervals, schedule.check_tasks),
    schedule.check_crontabs,
    *(bodies.check_update_state, bodies.check_progress, bodies.check_waiting, bodies.check_early_calls),
)
#: Those of what is right only elsewhere.
DEPLOYED: tuple[Check, ...] = (
    *(broker.check_server, celery_settings.check_eager, databases.check_sqlite_in_production),
    *(safety_settings.check_keeper, databases.check_pooler, schedule.check_stored),
)


def register() -> None:
    """Register the checks; from `AppConfig.ready`."""
    installation.register()
    checks.register(check_project, "task_safety")
    checks.register(check_deployment, "task_safety", deploy=True)
    checks.register(check_models, "models")
    checks.register(databases.check_database, "database")


def check_project(**kwargs: Any) -> list[checks.CheckMessage]:
    """What can be told from settings, tasks and schedules."""
    return _answers(ALWAYS)


def check_deployment(**kwargs: Any) -> list[checks.CheckMessage]:
    """The same, of what only production needs."""
    return _answers(DEPLOYED)


def _answers(which: tuple[Check, ...]) -> list[checks.CheckMessage]:
    try:
        conf = load(getattr(settings, "TASK_SAFETY", {}))
    except InvalidSetting:
        return []  # E001 says so
    return answers(which, Project(conf))
