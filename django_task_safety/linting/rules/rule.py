"""What a rule is."""

import ast
from collections.abc import Callable, Iterable
from typing import NamedTuple

from django_task_safety.linting.task import TaskBody


class Unsure(NamedTuple):
    """What a rule looks for may be there; the source does not say so."""

    node: ast.AST


Answer = ast.AST | Unsure
Look = Callable[[TaskBody], Iterable[Answer]]


class Rule(NamedTuple):
    """One thing that no task's body should do.

    Attributes:
        id: Its name in comments and answers.
        title: What it is about.
        message: What goes wrong, and how to mend it.
        look: Yields where a body does it.
        atomic: Whether only bodies in a transaction (True), or only those outside of one (False) can do it wrong.
    """

    id: str
    title: str
    message: str
    look: Look
    atomic: bool | None = None


def calls(*names: str) -> Look:
    """Return what looks for calls of these functions; ``a.b.`` means all in it."""
    return lambda body: body.calling(*names)
