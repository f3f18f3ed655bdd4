"""Tests in this folder run real worker processes on a real broker."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.support.brokers import Broker, broker, quick
from tests.support.workers import Worker

__all__ = ["broker", "quick"]

POOLS = ["prefork", "threads", "solo", "gevent"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker("live")


@pytest.fixture(params=POOLS)
def pool(request: pytest.FixtureRequest) -> str:
    """The pool of the workers that the test starts."""
    pool: str = request.param
    if pool == "gevent" and find_spec("gevent") is None:
        pytest.skip("gevent is not installed")
    return pool


@pytest.fixture
def start_worker(broker: Broker, quick: dict[str, Any], transactional_db: None) -> Iterator[Callable[..., Worker]]:
    """Start workers that are gone when the test ends."""
    workers: list[Worker] = []

    def start(*options: str, **kwargs: Any) -> Worker:
        workers.append(Worker(*options, **kwargs).start())
        return workers[-1]

    yield start
    for worker in workers:
        worker.kill()
