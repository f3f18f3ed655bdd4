"""Each judge is optional: without it, its tests are not there."""

from importlib.util import find_spec

import pytest

from tests.support.brokers import broker, quick

__all__ = ["broker", "quick"]

JUDGES = {"pytest_obligation": ["test_obligations.py", "test_worker_deaths.py"], "frontrun": ["test_interleavings.py"]}
collect_ignore = [name for judge, files in JUDGES.items() if find_spec(judge) is None for name in files]


@pytest.fixture(scope="session", autouse=True)
def _host() -> None:
    """Tell pytest-obligation what Django and Celery are to it."""
    if find_spec("pytest_obligation") is None:
        return
    from pytest_obligation.host import configure
    from pytest_obligation.integrations.celery import celery_publication_breaker, celery_publications
    from pytest_obligation.integrations.django import django_host
    from pytest_obligation.integrations.django.receivers import django_receiver_breaker

    from django_task_safety import signals

    host = django_host(
        {"django_task_safety", "tests.judges.shop"},
        publication_recorder=celery_publications,
        publication_breaker=celery_publication_breaker,
        receiver_breaker=django_receiver_breaker(*signals.BY_NAME.values()),
    )
    configure(host)
