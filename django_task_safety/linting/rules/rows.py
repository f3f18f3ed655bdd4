"""Rules of rows that are kept for too long, or cannot be kept."""

import ast
from collections.abc import Iterator

from celery import current_app

from django_task_safety.checks.source import method
from django_task_safety.linting.expressions import is_queryset, is_row
from django_task_safety.linting.rules.rule import Answer, Rule
from django_task_safety.linting.source import assignments
from django_task_safety.linting.task import TaskBody

_KEEPS = ("append", "add", "setdefault", "update", "extend", "insert")
_READS_ALL = ("list", "len", "tuple", "set", "sorted")


def _kept(body: TaskBody) -> Iterator[Answer]:
    shared = {name for node in body.nodes if isinstance(node, ast.Global) for name in node.names}
    ours = set(body.file.assigned) - set(body.assigned)
    for node in body.nodes:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                holder = target.value if isinstance(target, ast.Subscript | ast.Attribute) else target
                known = ours if isinstance(target, ast.Subscript) else {body.itself} if holder is not target else shared
                if isinstance(holder, ast.Name) and holder.id in known and is_row(body, node.value):
                    yield node
        elif isinstance(node, ast.Call) and (keeps := method(node, *_KEEPS)) is not None:
            kept = isinstance(keeps.value, ast.Name) and keeps.value.id in ours
            if kept and any(is_row(body, one) for one in node.args):
                yield node


def _outer(body: TaskBody) -> Iterator[Answer]:
    """Yield the reads of querysets that the module or an enclosing function made."""
    outer = [body.file.assigned, *(assignments(one.body) for one in body.enclosing)]
    made = {name for scope in outer for name, value in scope.items() if is_queryset(value)} - set(body.assigned)
    for node in body.nodes:
        read = node.iter if isinstance(node, ast.For | ast.comprehension) else None
        if isinstance(node, ast.Call) and body.dotted(node.func) in _READS_ALL and node.args:
            read = node.args[0]
        if isinstance(read, ast.Name) and read.id in made:
            yield read


def _closed_over(body: TaskBody) -> Iterator[Answer]:
    rows = {
        name
        for one in body.enclosing
        for name, value in assignments(one.body).items()
        if not is_queryset(value) and value is not None and is_row(body, value)
    }
    for node in body.nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in rows - set(body.assigned):
            yield node
            return


def _answers(body: TaskBody) -> Iterator[Answer]:
    settings = current_app.conf
    if "ignore_result" in body.options or settings.task_ignore_result or settings.result_serializer != "json":
        return  # it may be dropped, or pickled
    for node in body.nodes:
        parts = _parts(node.value) if isinstance(node, ast.Return) and node.value is not None else []
        if any(is_row(body, one) for one in parts):
            yield node


def _parts(node: ast.expr) -> list[ast.expr]:
    """Return what is in a result: itself, the values of a dictionary, what makes a list."""
    if isinstance(node, ast.Dict):
        return node.values
    if isinstance(node, ast.List | ast.Tuple):
        return node.elts
    lists = isinstance(node, ast.Call) and ast.unparse(node.func) in ("list", "tuple", "sorted")
    return node.args[:1] if lists and isinstance(node, ast.Call) else [node]


RULES = (
    Rule(
        "L604",
        "A row or a queryset is kept beyond the task",
        "The next tasks of this process find it as it was, also when it was changed, deleted or rolled back since. "
        "Keep its primary key, and read it where it is used.",
        _kept,
    ),
    Rule(
        "L605",
        "A queryset that was made when the module was imported",
        "Its rows are read once, by the first task of the process, and never again. Write .all() where it is used, or "
        "make it in the task.",
        _outer,
    ),
    Rule(
        "L606",
        "A row that was read before the task was made",
        "The task closes over a row as it was when the function around it ran; a worker has another one, or an old "
        "one. Pass it as an argument.",
        _closed_over,
    ),
    Rule(
        "L607",
        "A row or a queryset is the result",
        "A result is kept with the operation, as JSON, and these cannot be: the attempt fails at its end. Return a "
        "primary key, a list of them, or values.",
        _answers,
    ),
)
