"""Rules of what a second attempt does again to rows, and of rows that are kept for too long."""

import ast
from collections.abc import Iterator

from celery import current_app

from django_task_safety.checks.source import method
from django_task_safety.linting.expressions import (
    chain,
    is_of_manager,
    is_open,
    is_queryset,
    keyword,
    looks_first,
    text_of,
    writes,
)
from django_task_safety.linting.rules.rule import Answer, Rule, Unsure
from django_task_safety.linting.source import assignments
from django_task_safety.linting.task import TaskBody

_CHANGES = (ast.Add, ast.Sub, ast.Mult)
_KEEPS = ("append", "add", "setdefault", "update", "extend", "insert")
_READS_ALL = ("list", "len", "tuple", "set", "sorted")


def _judged(body: TaskBody, nodes: Iterator[ast.AST]) -> Iterator[Answer]:
    return (Unsure(node) if looks_first(body) or _beside_a_checkpoint(body, node) else node for node in nodes)


def _beside_a_checkpoint(body: TaskBody, node: ast.AST) -> bool:
    """Return whether its block of a transaction writes something else as well, which may say how far the task is."""
    block = body.atomic_block(node)
    inside = list(ast.walk(block)) if block is not None else []
    own = ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", node)).partition(
        "."
    )[0]
    others = [one for one in inside if writes(one) and one is not node]
    return any(not ast.unparse(one).startswith(f"{own}.save(") for one in others)


def _increments(body: TaskBody) -> Iterator[ast.AST]:
    for call in body.calls:
        if method(call, "update") is None or not is_of_manager(call):
            continue
        asked = {one.arg for _, each in chain(call) if each is not None and each is not call for one in each.keywords}
        guarded = asked & {one.arg for one in call.keywords if isinstance(one.value, ast.Constant)}
        if not guarded and any(_counts_up(body, one.arg, one.value) for one in call.keywords):
            yield call


def _counts_up(body: TaskBody, field: str | None, value: ast.AST) -> bool:
    if not isinstance(value, ast.BinOp) or not isinstance(value.op, _CHANGES):
        return False
    return any(
        isinstance(one, ast.Call)
        and body.dotted(one.func) == "django.db.models.F"
        and one.args
        and text_of(one.args[0]) == field
        for one in (value.left, value.right)
    )


def _changes_in_place(body: TaskBody) -> Iterator[ast.AST]:
    saved = {
        save.value.id for call in body.calls if (save := method(call, "save")) and isinstance(save.value, ast.Name)
    }
    for node in body.nodes:
        target = (
            node.target
            if isinstance(node, ast.AugAssign)
            else node.targets[0]
            if isinstance(node, ast.Assign)
            else None
        )
        field = target if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) else None
        if field is not None and ast.unparse(field.value) in saved and _counts_on(body, field, node):
            yield node


def _counts_on(body: TaskBody, field: ast.Attribute, node: ast.AST) -> bool:
    """Return whether a field gets what it had and more: ``x.n += 1``, ``x.n = x.n + 1``, or with ``F("n")``."""
    if isinstance(node, ast.AugAssign):
        return isinstance(node.op, _CHANGES)
    value = node.value if isinstance(node, ast.Assign) else None
    if not isinstance(value, ast.BinOp) or not isinstance(value.op, _CHANGES):
        return False
    itself = any(ast.unparse(one) == ast.unparse(field) for one in (value.left, value.right))
    return itself or _counts_up(body, field.attr, value)


def _bulk(body: TaskBody) -> Iterator[ast.AST]:
    for call in body.calls:
        made = method(call, "bulk_create") is not None and is_of_manager(call) and not is_open(call)
        if made and not keyword(call, "ignore_conflicts") and not keyword(call, "update_conflicts"):
            yield call


def _kept(body: TaskBody) -> Iterator[Answer]:
    shared = {name for node in body.nodes if isinstance(node, ast.Global) for name in node.names}
    ours = set(body.file.assigned) - set(body.assigned)
    for node in body.nodes:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                holder = target.value if isinstance(target, ast.Subscript | ast.Attribute) else target
                known = ours if isinstance(target, ast.Subscript) else {body.itself} if holder is not target else shared
                if isinstance(holder, ast.Name) and holder.id in known and _is_row(body, node.value):
                    yield node
        elif isinstance(node, ast.Call) and (keeps := method(node, *_KEEPS)) is not None:
            kept = isinstance(keeps.value, ast.Name) and keeps.value.id in ours
            if kept and any(_is_row(body, one) for one in node.args):
                yield node


def _is_row(body: TaskBody, node: ast.AST) -> bool:
    if isinstance(node, ast.Name) and node.id in body.annotations:
        return ".models." in f".{body.dotted(body.annotations[node.id])}"
    meant = body.assigned.get(node.id) if isinstance(node, ast.Name) else node
    last = next(chain(meant), ("", None))[0]
    return is_queryset(meant) or (last in ("get", "first", "last", "create") and is_of_manager(meant))


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
        if not is_queryset(value) and value is not None and _is_row(body, value)
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
        if isinstance(node, ast.Return) and node.value is not None and _is_row(body, node.value):
            yield node


RULES = (
    Rule(
        "L601",
        "A counter that each attempt raises",
        "Without the task's transaction the increment is committed at once: an attempt after a crash raises it again. "
        "Let the task be atomic, or guard the update with what it changes (filter(done=False).update(done=True, …)).",
        lambda body: _judged(body, _increments(body)),
        atomic=False,
    ),
    Rule(
        "L602",
        "A field that each attempt changes further",
        "Without the task's transaction the new value is saved at once: an attempt after a crash adds to it again, and "
        "two writers overwrite each other. Let the task be atomic, or compute the value from what does not change.",
        lambda body: _judged(body, _changes_in_place(body)),
        atomic=False,
    ),
    Rule(
        "L603",
        "Rows that each attempt creates again",
        "Without the task's transaction they are committed at once: an attempt after a crash creates them once more, "
        "or fails on a unique field for ever. Let the task be atomic, or give them a unique field and "
        "ignore_conflicts=True.",
        lambda body: _judged(body, _bulk(body)),
        atomic=False,
    ),
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
