"""Tests in this folder kill and pause real processes at the points where their work becomes durable."""

from collections.abc import Iterator

import pytest
from django.db import connection

from tests.crash.forked_processes import ForkedProcesses

pytest.register_assert_rewrite("tests.crash.counting", "tests.crash.scenarios", "tests.crash.split_scenarios")


@pytest.fixture(scope="session")
def processes_of_the_session(django_db_setup: None) -> Iterator[ForkedProcesses]:
    with ForkedProcesses() as processes:
        yield processes


@pytest.fixture
def processes(processes_of_the_session: ForkedProcesses, transactional_db: None) -> ForkedProcesses:
    """Processes on the test's database."""
    assert not connection.in_atomic_block
    return processes_of_the_session
