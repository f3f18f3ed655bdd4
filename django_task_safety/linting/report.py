"""What the linter says of files: findings, and what it cannot tell."""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from django_task_safety.linting.rules import RULES
from django_task_safety.linting.rules.rule import Rule, Unsure
from django_task_safety.linting.source import SourceFile, Suppression
from django_task_safety.linting.task import TaskBody, tasks_in

#: What the linter says of files and comments, and no comment silences.
UNREADABLE, IDLE, UNFOUNDED = "L001", "L002", "L003"
_MARKS = ("task_safety", "task-safety:")


@dataclass(frozen=True, order=True, slots=True)
class Finding:
    """What stands in one line.

    Attributes:
        file: The path of the file.
        line: The line, from 1 on.
        id: The rule's.
        message: What goes wrong, and how to mend it.
        certain: False if the linter cannot tell whether it is there.
    """

    file: str
    line: int
    id: str
    message: str
    certain: bool = True


def lint(paths: Iterable[Path]) -> list[Finding]:
    """Return what is to be said of files, in the order of their lines."""
    return sorted({one for path in paths for one in lint_file(path)})


def lint_file(path: Path) -> Iterator[Finding]:
    """Yield what is to be said of a file."""
    try:
        text = path.read_text(encoding="utf-8")
        if not any(mark in text for mark in _MARKS):
            return
        file = SourceFile(path, text)
    except (OSError, SyntaxError, ValueError) as exc:
        line = getattr(exc, "lineno", None) or 1
        yield Finding(
            str(path), line, UNREADABLE, f"The file cannot be read: {exc}. Mend it; its tasks were not looked at."
        )
        return
    yield from _unsilenced(file, list(_found(file)))


def _found(file: SourceFile) -> Iterator[Finding]:
    for body in tasks_in(file):
        for rule in RULES.values():
            if rule.atomic in (None, body.atomic) or body.atomic is None:
                yield from _by(rule, body)


def _by(rule: Rule, body: TaskBody) -> Iterator[Finding]:
    for answer in rule.look(body):
        node = answer.node if isinstance(answer, Unsure) else answer
        certain = not isinstance(answer, Unsure) and (rule.atomic is None or body.atomic is not None)
        yield Finding(str(body.file.path), _line(node), rule.id, f"{rule.title}. {rule.message}", certain)


def _line(node: ast.AST) -> int:
    line: int = getattr(node, "lineno", 1)
    return line


def _unsilenced(file: SourceFile, found: list[Finding]) -> Iterator[Finding]:
    silencing = [one for one in file.suppressions if one.reason and one.ids and set(one.ids) <= RULES.keys()]
    silenced = {(one.line, name) for one in silencing for name in one.ids}
    yield from (one for one in found if (one.line, one.id) not in silenced)
    there = {(one.line, one.id) for one in found}
    for one in file.suppressions:
        if one not in silencing:
            yield Finding(str(file.path), one.line, UNFOUNDED, _what_is_missing(one))
            continue
        for name in one.ids:
            if (one.line, name) not in there:
                text = f"The comment silences {name}, which nothing in this line calls for. Take it away."
                yield Finding(str(file.path), one.line, IDLE, text)


def _what_is_missing(comment: Suppression) -> str:
    unknown = sorted(set(comment.ids) - RULES.keys())
    if unknown:
        names = ", ".join(unknown)
        return f"The comment silences {names}, which is no rule that a comment silences. Write one of the linter's ids."
    if not comment.ids:
        return "The comment names no rule, and silences nothing. Write # task-safety: ok=ID and the reason."
    names = ", ".join(comment.ids)
    return f"The comment silences {names} without a reason, so it silences nothing. Write the reason after the id."
