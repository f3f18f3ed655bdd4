"""Rules of what a task asks others to do: other tasks, and callbacks of the commit."""

import ast
import re
from collections.abc import Callable, Iterator
from itertools import takewhile

from django_task_safety.checks.source import method
from django_task_safety.linting.expressions import is_of_manager, is_row, keyword, names_in, receiver
from django_task_safety.linting.rules.outside import MAIL, POSTS
from django_task_safety.linting.rules.rule import Answer, Look, Rule, Unsure
from django_task_safety.linting.task import TaskBody

_WRITES = ("create", "bulk_create", "bulk_update", "update", "delete", "get_or_create", "update_or_create")
_SENDS = ("delay", "enqueue", "apply_async")
_LITERAL = (ast.Tuple, ast.List, ast.Set)
_CHUNKS = re.compile(r"chunk|batch", re.IGNORECASE)


def is_task(body: TaskBody, node: ast.AST) -> bool:
    """Return whether a name is that of a task: one of this file, or from a module of tasks."""
    if isinstance(node, ast.Name) and node.id in body.tasks_of_file:
        return node.id not in body.assigned
    return ".tasks." in f".{body.dotted(node) or ''}"


def _in_loops(body: TaskBody) -> Iterator[Answer]:
    for call in body.calls:
        sends = method(call, *_SENDS)
        if sends is not None and sends.attr == "apply_async" and not _only_arguments(call):
            continue  # with options of its own, which enqueue_many() does not take
        loop = body.loop(call) if sends is not None else None
        if sends is None or loop is None or not is_task(body, sends.value):
            continue
        sources = [loop.iter] if isinstance(loop, ast.For) else [one.iter for one in getattr(loop, "generators", ())]
        few = sources and all(_is_short(body, one) for one in sources)
        if not few and not isinstance(loop, ast.While) and not _leaves(body, call):
            yield Unsure(call) if any(_is_of_chunks(one) for one in sources) else call


def _leaves(body: TaskBody, call: ast.Call) -> bool:
    """Return whether the loop ends behind a call, which so is made once."""
    loop = body.loop(call)
    inside = takewhile(lambda one: one is not loop, body.above(call))
    return any(isinstance(below, ast.Break | ast.Return | ast.Raise) for one in inside for below in body.below(one))


def _is_of_chunks(node: ast.AST) -> bool:
    stepped = isinstance(node, ast.Call) and ast.unparse(node.func) == "range" and len(node.args) == 3
    named = names_in(node) | {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}
    return stepped or any(_CHUNKS.search(one) for one in named)


def _only_arguments(call: ast.Call) -> bool:
    return len(call.args) <= 2 and all(one.arg in ("args", "kwargs") for one in call.keywords)


def _is_short(body: TaskBody, node: ast.AST) -> bool:
    """Return whether the source or the settings say all that there is."""
    named = isinstance(node, ast.Name) and node.id not in body.assigned
    meant = body.file.assigned.get(node.id) if isinstance(node, ast.Name) and named else node
    if isinstance(meant, _LITERAL) or (body.dotted(node) or "").startswith("django.conf.settings."):
        return True
    return (
        isinstance(node, ast.Call)
        and names_in(node) == {"range"}
        and all(isinstance(one, ast.Constant) for one in node.args)
    )


def _applies(body: TaskBody) -> Iterator[Answer]:
    for call in body.calls:
        applied = method(call, "apply")
        if applied is not None and is_task(body, applied.value):
            yield call


def _on_commit(does: Callable[[TaskBody, ast.AST], bool]) -> Look:
    return lambda body: (
        call for call in body.calling("django.db.transaction.on_commit") if call.args and does(body, call.args[0])
    )


def _callback(body: TaskBody, callback: ast.AST) -> ast.AST:
    if isinstance(callback, ast.Name):
        inner = {one.name: one for one in ast.walk(body.function) if isinstance(one, ast.FunctionDef)}
        return inner.get(callback.id, callback)
    return callback


def _writes(body: TaskBody, callback: ast.AST) -> bool:
    calls = [one for one in ast.walk(_callback(body, callback)) if isinstance(one, ast.Call)]
    made = any(method(one, *_WRITES) is not None and is_of_manager(one) for one in calls)
    saves = [one for one in calls if method(one, "save") is not None]
    return made or any(is_row(body, receiver(one)) or keyword(one, "update_fields") for one in saves)


def _sends(body: TaskBody, callback: ast.AST) -> bool:
    if isinstance(callback, ast.Call) and body.dotted(callback.func) == "functools.partial" and callback.args:
        return _is_sent(body, callback.args[0])
    calls = (one for one in ast.walk(_callback(body, callback)) if isinstance(one, ast.Call))
    return _is_sent(body, callback) or any(_is_sent(body, one.func) for one in calls)


def _is_sent(body: TaskBody, function: ast.AST) -> bool:
    enqueues = isinstance(function, ast.Attribute) and function.attr in _SENDS and is_task(body, function.value)
    return enqueues or body.dotted(function) in {*MAIL, *POSTS}


RULES = (
    Rule(
        "L201",
        "Tasks are enqueued one by one in a loop",
        "Each is a statement and, after the commit, a message of its own: a thousand of them hold the transaction open "
        "for seconds. Pass all at once to enqueue_many() of a safe task, or let split() make chunks of a queryset.",
        _in_loops,
    ),
    Rule(
        "L202",
        "A task is run in place by apply()",
        "It runs in this process, inside of this transaction: its retries do not wait, its time limits do not count, "
        "and a failure here takes its work back. Enqueue it, call a function that both share, or let a chain go on.",
        _applies,
    ),
    Rule(
        "L203",
        "What on_commit() sends is lost in a crash",
        "A worker that dies between the commit and the callback never sends it, and nobody knows: the operation has "
        "succeeded. Enqueue a safe task here instead: it is part of the transaction, and published until it has run.",
        _on_commit(_sends),
        atomic=True,
    ),
    Rule(
        "L204",
        "Rows are written after the commit",
        "A worker that dies between the commit and the callback never writes them, although the operation has "
        "succeeded; and the row in the closure is as it was before the commit. Write them in the body.",
        _on_commit(_writes),
        atomic=True,
    ),
)
