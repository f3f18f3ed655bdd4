"""Databases with the project's schema and nobody's data, which are there for a block."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from django.db import connections
from django.test.utils import (
    setup_databases,
    setup_test_environment,
    teardown_databases,
    teardown_test_environment,
)


@contextmanager
def in_place() -> Iterator[None]:
    """Make test databases as Django's test runner does, under names of their own, and mail go nowhere, for the block.

    Raises:
        SystemExit: Where a server does not let the project's user make a database; Django has said so then.
    """
    for db in connections.all():
        test: Any = db.settings_dict["TEST"]
        if not test.get("MIRROR"):
            # In memory with SQLite; a test run of the same project may be going on.
            name = f"test_{secrets.token_hex(4)}_{db.settings_dict['NAME']}"[:60]
            test["NAME"] = None if db.vendor == "sqlite" else name
    with ExitStack() as stack:
        with suppress(RuntimeError):  # within a test it is set up
            setup_test_environment()
            stack.callback(teardown_test_environment)
        made = setup_databases(verbosity=0, interactive=False, serialized_aliases=())
        stack.callback(teardown_databases, made, verbosity=0)
        yield
