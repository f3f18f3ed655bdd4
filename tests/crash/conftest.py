"""Tests in this folder kill and pause real processes at the points where their work becomes durable."""

from collections.abc import Iterator

import pytest
from django.db import connection

from tests.crash.forked_processes import Victims

pytest.register_assert_rewrite("tests.crash.counting", "tests.crash.scenarios")


@pytest.fixture(scope="session")
def victims_of_the_session(django_db_setup: None) -> Iterator[Victims]:
    with Victims() as victims:
        yield victims


@pytest.fixture
def victims(victims_of_the_session: Victims, transactional_db: None) -> Victims:
    """Processes on the test's database."""
    assert not connection.in_atomic_block
    return victims_of_the_session
