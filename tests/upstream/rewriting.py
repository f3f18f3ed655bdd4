"""Put our classes into the place of Django's: in the source of its tests, line for line."""

import ast
from collections.abc import Collection, Mapping
from pathlib import Path

IMPORT = "from django_task_safety.models import PendingOperationsModel; "
BASES = {"models.Model", "Model"}


def derive(source: str, refused: Collection[str] = ()) -> str:
    """Return a module whose models derive from PendingOperationsModel instead of Django's ``Model``; but those that are
    refused stay as they are."""
    tree = ast.parse(source)
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name not in refused]
    bases = [base for node in classes for base in node.bases if ast.unparse(base) in BASES]
    if not bases:
        return source
    lines = source.encode().splitlines(keepends=True)
    # From the end, so that what is still to be replaced stays where it is.
    for base in sorted(bases, key=lambda base: (base.lineno, base.col_offset), reverse=True):
        _replace(lines, base.lineno, base.col_offset, base.end_col_offset or 0, "PendingOperationsModel")
    first = next(node for node in tree.body if not _must_come_first(node))
    _replace(lines, first.lineno, 0, 0, IMPORT)
    return b"".join(lines).decode()


def derive_all(folder: Path, refused: Collection[str] = ()) -> None:
    """Do so in a whole folder."""
    for path in folder.rglob("*.py"):
        path.write_text(derive(path.read_text(), refused))


def replace_all(folder: Path, replacements: Mapping[str, str]) -> None:
    """Replace text in a whole folder.

    Raises:
        AssertionError: If one of the texts is nowhere.
    """
    unseen = set(replacements)
    for path in folder.rglob("*.py"):
        text = path.read_text()
        unseen -= {before for before in replacements if before in text}
        for before, after in replacements.items():
            text = text.replace(before, after)
        path.write_text(text)
    assert not unseen


def _must_come_first(node: ast.stmt) -> bool:
    docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return docstring or (isinstance(node, ast.ImportFrom) and node.module == "__future__")


def _replace(lines: list[bytes], number: int, start: int, end: int, text: str) -> None:
    line = lines[number - 1]
    lines[number - 1] = line[:start] + text.encode() + line[end:]
