"""A plugin of pytest for Celery's own integration tests: each task is a SafeTask."""

import django
import pytest
from django.core.management import call_command


class InPlace:
    @pytest.fixture(scope="session")
    @classmethod
    def celery_parameters(cls) -> dict[str, str]:
        return {"task_cls": "django_task_safety:SafeTask"}


def pytest_sessionstart(session: pytest.Session) -> None:
    django.setup()
    call_command("migrate", verbosity=0)
    # Not before Celery's own plugin is there, whose fixture this one replaces.
    session.config.pluginmanager.register(InPlace())
