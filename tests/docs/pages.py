"""The documentation, as the tests read it."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"


def page(name: str) -> str:
    return (DOCS / f"{name}.rst").read_text()


def table(name: str, title: str = "") -> list[list[str]]:
    """The cells of a page's list-table, without its header."""
    _, _, rest = page(name).partition(f".. list-table::{' ' if title else ''}{title}\n")
    assert rest, f"{name} has no table {title!r}"
    body = re.split(r"\n(?=\S)", rest)[0]
    rows = re.split(r"^   \* - ", body, flags=re.MULTILINE)[1:]
    return [[" ".join(cell.split()) for cell in re.split(r"^     - ", row, flags=re.MULTILINE)] for row in rows][1:]
