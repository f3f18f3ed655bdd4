"""Rules of what a second attempt does again to rows, where no transaction of the task's takes the first one back."""

import ast
from collections.abc import Iterator

from django_task_safety.checks.source import method
from django_task_safety.linting.expressions import (
    is_of_manager,
    is_open,
    keyword,
    looks_first,
    names_in,
    text_of,
    writes,
)
from django_task_safety.linting.rules.rule import Answer, Rule, Unsure
from django_task_safety.linting.task import TaskBody

_CHANGES = (ast.Add, ast.Sub, ast.Mult)
_ASKS = (ast.If, ast.IfExp, ast.Try, ast.Match)


def _judged(body: TaskBody, answers: Iterator[Answer]) -> Iterator[Answer]:
    for one in answers:
        sure = isinstance(one, ast.AST) and not looks_first(body) and not _beside_a_checkpoint(body, one)
        yield one if sure or isinstance(one, Unsure) else Unsure(one)


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
        asked = {one.arg for one in ast.walk(call.func) if isinstance(one, ast.keyword) and one.arg}
        counted = {one.arg for one in call.keywords if _counts_up(body, one.arg, one.value)}
        marked = {one.arg for one in call.keywords} - counted
        # Compared with what it was, it counts once; and so does what its own marker takes out of the filter.
        if counted and not counted & asked and not marked & _fields(asked):
            yield call


def _fields(lookups: set[str]) -> set[str]:
    return {one.partition("__")[0] for one in lookups}


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


def _changes_in_place(body: TaskBody) -> Iterator[Answer]:
    # What saves files takes their names.
    saves = (method(call, "save") for call in body.calls if not call.args)
    saved = {save.value.id for save in saves if save is not None and isinstance(save.value, ast.Name)}
    saved -= {name for name in saved if _is_new(body, name)}
    asked = _asked(body)
    for node, row, field in _fields_set(body):
        others = [(each, name) for each, of, name in _fields_set(body) if of == row and each is not node]
        begun = any(name == field and not _counts_on(body, name, each) for each, name in others)
        if row in saved and not begun and _counts_on(body, field, node):
            marked = any(name != field and name in asked for _, name in others)
            yield Unsure(node) if marked else node


def _fields_set(body: TaskBody) -> Iterator[tuple[ast.Assign | ast.AugAssign, str, str]]:
    """Yield what sets a field of a row, with the names of both."""
    for node in body.nodes:
        if isinstance(node, ast.Assign | ast.AugAssign):
            target = node.target if isinstance(node, ast.AugAssign) else node.targets[0]
            if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
                yield node, target.value.id, target.attr


def _asked(body: TaskBody) -> set[str]:
    """Return the fields by which rows are chosen: in conditions, and in queries."""
    tests = [node.test for node in body.nodes if isinstance(node, ast.If | ast.While | ast.IfExp)]
    fields = {one.attr for test in tests for one in ast.walk(test) if isinstance(one, ast.Attribute)}
    queries = [call for call in body.calls if method(call, "filter", "exclude", "get")]
    return fields | _fields({one.arg for call in queries for one in call.keywords if one.arg})


def _is_new(body: TaskBody, name: str) -> bool:
    """Return whether a name is that of a row which the body makes."""
    made = body.assigned.get(name)
    called = made.func if isinstance(made, ast.Call) else None
    return isinstance(called, ast.Name) and called.id[:1].isupper()


def _counts_on(body: TaskBody, field: str, node: ast.Assign | ast.AugAssign) -> bool:
    """Return whether a field gets what it had and more: ``x.n += 1``, ``x.n = x.n + 1``, or with ``F("n")``."""
    if isinstance(node, ast.AugAssign):
        return isinstance(node.op, _CHANGES)
    value = node.value
    if not isinstance(value, ast.BinOp) or not isinstance(value.op, _CHANGES):
        return False
    itself = any(ast.unparse(one) == ast.unparse(node.targets[0]) for one in (value.left, value.right))
    return itself or _counts_up(body, field, value)


def _created(body: TaskBody) -> Iterator[Answer]:
    """Yield what creates rows, or that the body may have deleted those of an attempt before."""
    for call in (*_bulk(body), *_one_by_one(body)):
        model = ast.unparse(call.func).partition(".objects")[0]
        cleared = any(
            method(one, "delete") and ast.unparse(one.func).startswith(f"{model}.objects") for one in body.calls
        )
        yield Unsure(call) if cleared or _is_chosen(body, call) else call


def _is_chosen(body: TaskBody, call: ast.Call) -> bool:
    """Return whether it creates only some of them, which may be those that are not there yet."""
    rows = next(iter(call.args), None)
    given = [one for one in (rows, body.meant(rows)) if one is not None]
    filled = (one for one in body.calls if method(one, "append") and names_in(one.func) & names_in(call))
    asked = any(isinstance(each, ast.If) for one in filled for each in body.above(one))
    return asked or any(isinstance(one, ast.comprehension) and one.ifs for each in given for one in ast.walk(each))


def _one_by_one(body: TaskBody) -> Iterator[ast.Call]:
    """Yield ``create()`` in a loop over all of an argument, in which nothing is asked."""
    for call in body.calls:
        loop = body.loop(call) if method(call, "create") is not None and is_of_manager(call) else None
        if isinstance(loop, ast.For) and names_in(loop.iter) & set(body.parameters):
            chosen = any(method(one, "filter", "exclude") for one in ast.walk(loop.iter))
            if not chosen and not any(isinstance(one, _ASKS) for one in ast.walk(loop)):
                yield call


def _bulk(body: TaskBody) -> Iterator[ast.Call]:
    for call in body.calls:
        made = method(call, "bulk_create") is not None and is_of_manager(call) and not is_open(call)
        if made and not keyword(call, "ignore_conflicts") and not keyword(call, "update_conflicts"):
            yield call


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
        lambda body: _judged(body, _created(body)),
        atomic=False,
    ),
)
