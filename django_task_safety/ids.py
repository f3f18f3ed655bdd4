"""Ids of operations: UUIDs that grow with time, so that new rows stay together in the primary key's index."""

import secrets
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

#: Ids that are no UUIDs (a caller's own ``task_id``) are mapped into this namespace.
NAMESPACE = uuid.UUID("6f0b7a51-6f0e-5bd5-9c87-6f3f0c2f7a10")


def new() -> uuid.UUID:
    """Return a UUID of version 7 (RFC 9562, section 5.7): 48 bits of Unix milliseconds, 12 of the millisecond's parts
    (section 6.2, method 3), so that what a process makes is in order, and 62 random bits."""
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    number = (milliseconds & (1 << 48) - 1) << 80 | 7 << 76 | (nanoseconds << 12) // 1_000_000 << 64
    return uuid.UUID(int=number | 2 << 62 | secrets.randbits(62))


def made_at(made: uuid.UUID) -> datetime | None:
    """Return when a UUID of version 7 was made, by the clock of whoever made it; None for another one."""
    if made.version != 7:
        return None
    nanoseconds = (made.int >> 64 & 0xFFF) * 1_000_000 >> 12
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=made.int >> 80, microseconds=nanoseconds // 1000)


def message_id(text: Any) -> uuid.UUID:
    """Return a message's id as a UUID; what is none is mapped to one (version 5)."""
    return uuid_of(text) or uuid.uuid5(NAMESPACE, text)


def uuid_of(text: Any) -> uuid.UUID | None:
    """Return the UUID that a text is, or that it is already; None for anything else."""
    try:
        return uuid.UUID(str(text)) if text else None
    except (ValueError, AttributeError, TypeError):
        return None
