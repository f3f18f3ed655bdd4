from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import pytest
from django.db import transaction

from tests.support import deleting


@pytest.fixture(params=deleting.PATHS)
def path(request: pytest.FixtureRequest) -> deleting.Path:
    """How to make an object, and how to delete it."""
    return deleting.PATHS[request.param]


@pytest.fixture(params=[False, True], ids=["autocommit", "in a transaction"])
def around(request: pytest.FixtureRequest) -> Callable[[], AbstractContextManager[object]]:
    """The delete is done in autocommit, or in a transaction of the caller's."""
    return transaction.atomic if request.param else nullcontext
