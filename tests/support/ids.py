"""Names of parametrised tests that are the same in each process."""

import re
from datetime import datetime


def label(value: object) -> str:
    """Return the text of a parameter, without what differs from run to run: addresses, moments, the order of sets."""
    if isinstance(value, set | frozenset):
        return "{" + ", ".join(sorted(map(label, value))) + "}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {label(item)}" for name, item in value.items()) + "}"
    if isinstance(value, datetime):
        return "datetime"
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))
