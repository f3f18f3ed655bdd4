"""Ids of operations: UUIDs that grow with time, so that new rows stay together in the primary key's index."""

from __future__ import annotations

import secrets
import time
import uuid


def new() -> uuid.UUID:
    """Return a UUID of version 7 (RFC 9562, section 5.7): 48 bits of Unix milliseconds, 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    number = (milliseconds & (1 << 48) - 1) << 80 | 7 << 76 | secrets.randbits(12) << 64
    return uuid.UUID(int=number | 2 << 62 | secrets.randbits(62))
