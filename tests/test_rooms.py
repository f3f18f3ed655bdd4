"""The package's rooms stand on each other: a lower one never imports a higher one."""

import ast
from pathlib import Path

import pytest

import django_task_safety

PACKAGE = Path(django_task_safety.__file__).parent
#: From the lowest to the highest. What a function imports when it is called does not count.
ROOMS = [
    *("values", "storage", "ledger", "leases", "objects", "calling", "running"),
    *("locking", "soft_delete", "checks", "management"),
]


def rooms_imported(path: Path) -> set[str]:
    """Return the rooms that a module needs before it can be imported itself."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("django_task_safety"):
            names = [node.module] if "." in node.module else [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name.split(".")[1] for name in names}
    return found & set(ROOMS)


def test_every_folder_is_a_room():
    folders = {path.parent.name for path in PACKAGE.glob("*/*.py")}
    assert folders - {"migrations"} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_none_above_it(room):
    modules = sorted((PACKAGE / room).rglob("*.py"))
    assert modules
    above = set(ROOMS[ROOMS.index(room) + 1 :])
    assert {path.name: rooms_imported(path) & above for path in modules if rooms_imported(path) & above} == {}
