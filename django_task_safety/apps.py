"""The Django app: installing it is all the set-up there is."""

import os
from importlib import import_module
from importlib.util import find_spec

from django.apps import AppConfig, apps
from django.core.signals import setting_changed
from django.db.models.signals import pre_migrate
from django.utils.translation import gettext_lazy as _


class TaskSafetyConfig(AppConfig):
    """Validates the settings and hooks into Celery's workers."""

    name = "django_task_safety"
    verbose_name = _("Task safety")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django_task_safety import conf, uninstalling
        from django_task_safety.checks import registration
        from django_task_safety.linting import system_check
        from django_task_safety.worker import hooks

        setting_changed.connect(conf.reset, dispatch_uid="django_task_safety.conf")
        conf.conf()
        pre_migrate.connect(uninstalling.refuse_while_pending, sender=self, dispatch_uid="django_task_safety.zero")
        registration.register()
        system_check.register()
        hooks.connect()
        if apps.is_installed("django.contrib.admin"):
            # Also in workers, which run the actions on many operations, and in projects that register what they want.
            import_module("django_task_safety.admin")
        if find_spec("opentelemetry") and os.environ.get("OTEL_SDK_DISABLED", "").lower() != "true":
            import_module("django_task_safety.telemetry").connect()
