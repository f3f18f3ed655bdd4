"""A plugin of pytest, found by its entry point: the fixture ``task_safety``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from django_task_safety.testing.local_worker import LocalWorker

# pytest loads its plugins before Django has a project, so that what has models is imported where it is used.


@pytest.fixture
def task_safety(db: None) -> Iterator[LocalWorker]:
    """A worker in the test's process; with ``transactional_db`` as well as without."""
    from django_task_safety.testing.local_worker import LocalWorker

    with LocalWorker() as worker:
        yield worker
