"""Django's connection with other attributes for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def instead(connection: Any, **attributes: Any) -> Iterator[None]:
    """Give this one object attributes in place of its class's, until the block ends."""
    vars(connection).update(attributes)
    try:
        yield
    finally:
        for name in attributes:
            delattr(connection, name)
