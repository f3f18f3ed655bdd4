"""What a process has come to, written down where its death leaves it."""

import dataclasses
import pickle
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class Point:
    """Something that the work came to."""

    number: int
    #: What is done there: a statement, a COMMIT, or an effect.
    name: str
    #: Where in the task's own code, as ``file.py:12``.
    line: str
    #: How often, before it, something was done that outlives the process: points of one state are alike.
    state: int

    def __str__(self) -> str:
        return f"{self.line}, {self.name}"


class Journal:
    """What a process has done, in a file to which it is added at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = f"{path.parent.name}-{path.name}"
        path.touch(0o600)

    def write(self, kind: str, value: Any) -> None:
        with self._path.open("ab", buffering=0) as file:
            file.write(pickle.dumps((kind, value)))

    def read(self, kind: str) -> list[Any]:
        found = []
        with self._path.open("rb") as file:
            while file.peek(1):
                found.append(pickle.load(file))
        return [value for known, value in found if known == kind]
