"""What the tests of the checks share."""

from collections.abc import Iterator

import pytest

from tests.support.checking import Checked


@pytest.fixture
def project() -> Iterator[Checked]:
    """Return a project with a Celery app and no tasks."""
    made = Checked()
    yield made
    made.app.close()
