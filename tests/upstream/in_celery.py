"""A plugin of pytest for Celery's own integration tests: each task is a SafeTask."""

from collections.abc import Iterator

import django
import pytest
from celery import Celery
from django.core.management import call_command

from django_task_safety import SafeTask

#: The task that stays Celery's.
REFUSED = "t.integration.tasks.soft_time_limit_must_exceed_time_limit"


class InPlace:
    @pytest.fixture(scope="session")
    @classmethod
    def celery_parameters(cls) -> dict[str, str]:
        return {"task_cls": "django_task_safety:SafeTask"}

    @pytest.fixture(autouse=True)
    @classmethod
    def safe(cls, request: pytest.FixtureRequest, celery_app: Celery, celery_session_app: Celery) -> None:
        """Fail where tasks are still Celery's, with which every test would pass and prove nothing."""
        assert plain_tasks(celery_app) | plain_tasks(celery_session_app) <= {REFUSED}
        if "celery_session_worker" in request.fixturenames:
            request.getfixturevalue("safe_worker")

    @pytest.fixture(scope="session")
    @classmethod
    def safe_worker(cls, celery_session_app: Celery, celery_session_worker: object) -> Iterator[None]:
        """Fail where the worker runs the tasks otherwise than as operations."""
        from django_task_safety.models import Operation
        from django_task_safety.worker.keeper import Keeper

        # Workers of the command line start theirs themselves; Celery's worker for tests does not say that it is ready.
        keeper = Keeper()
        keeper.start()
        result = celery_session_app.tasks["t.integration.tasks.identity"].delay("safe")
        assert result.get(timeout=30) == "safe"
        assert Operation.objects.get(pk=result.id).state == Operation.State.SUCCEEDED
        yield
        keeper.stop()


def plain_tasks(app: Celery) -> set[str]:
    """Return the names of the tests' tasks that are no SafeTask."""
    return {name for name, task in app.tasks.items() if name.startswith("t.") and not isinstance(task, SafeTask)}


def pytest_sessionstart(session: pytest.Session) -> None:
    django.setup()
    call_command("migrate", verbosity=0)
    # Not before Celery's own plugin is there, whose fixture this one replaces.
    session.config.pluginmanager.register(InPlace())
