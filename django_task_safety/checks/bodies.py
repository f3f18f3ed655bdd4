"""Checks of what the bodies of atomic tasks do: what nobody sees before the commit, or what happens in spite of it.

A body's source is read only where its names say that it might; what it calls is not followed.
"""

import ast
import re
from collections.abc import Callable, Iterator

from celery import Task

from django_task_safety.checks.findings import CannotTell, Finding, about, named, warning
from django_task_safety.checks.project import Project
from django_task_safety.checks.source import Body, Unread, method, within
from django_task_safety.options import TaskOptions

_PROGRESS = re.compile(r"(^|_)(progress|percent|percentage|pct)($|_)", re.IGNORECASE)
_SENDS = ("delay", "apply_async")
_SIGNATURES = ("s", "si", "subtask", "signature")
_LOOPS = (ast.For, ast.While)
#: Result backends that write by Django's connection, and so in the task's transaction.
DJANGOS_RESULTS = re.compile(r"^django-db|^django_celery_results\.backends[.:](database|DatabaseBackend)")


def _each(project: Project, number: str, does: Callable[[Body], bool], text: str, hint: str) -> Iterator[Finding]:
    """Yield one warning for all atomic tasks whose body does it, and what is said of those that cannot be read."""
    found, unread = set(), set()
    for body in project.atomic_bodies:
        try:
            if does(body):
                found.add(body.name)
        except Unread:
            unread.add(body.name)
    if found:
        yield warning(f"{named(found)}: {text}", hint, number)
    if unread:
        yield CannotTell((number,), f"{named(unread)}: the source cannot be read")


@about("task_safety.W054")
def check_update_state(project: Project) -> Iterator[Finding]:
    """What an atomic task says with Celery's `update_state` is seen while it runs."""
    told = {
        task.name
        for app, task in project.safe_in_apps
        if task.atomic and DJANGOS_RESULTS.search(str(app.conf.result_backend)) and "update_state" in Body(task).words
    }
    if told:
        yield warning(
            f"{named(told)}: update_state() writes to Django's result table in the task's transaction, where nobody "
            "sees it before the end.",
            "Report progress with track() or current_operation().report(), and read the operation.",
            "task_safety.W054",
        )


@about("task_safety.W055")
def check_progress(project: Project) -> Iterator[Finding]:
    """What an atomic task saves of its progress is seen while it runs."""
    text = "saves its progress in a row again and again, in its transaction, where nobody sees it before the end."
    hint = "Report it with track() or current_operation().report(), or give the task atomic=False."
    return _each(project, "task_safety.W055", _saves_progress, text, hint)


def _saves_progress(body: Body) -> bool:
    if not (body.words & {"save", "update"} and any(_PROGRESS.search(word) for word in body.words)):
        return False
    return any(_saves_in(list(within(loop))) for loop in body.nodes if isinstance(loop, _LOOPS))


def _saves_in(nodes: list[ast.AST]) -> bool:
    assigned, saved = set(), set()
    for node in nodes:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        fields = (one for one in targets if isinstance(one, ast.Attribute) and _progress(one.attr))
        assigned |= {ast.unparse(one.value) for one in fields}
        keywords = {one.arg for one in node.keywords} if isinstance(node, ast.Call) else set()
        if (save := method(node, "save")) is not None and "using" not in keywords:
            saved.add(ast.unparse(save.value))
        if (update := method(node, "update")) is not None and any(map(_progress, keywords)):
            rows = ast.unparse(update.value)
            if ("objects" in rows or ".filter(" in rows) and ".using(" not in rows:
                return True
    return bool(assigned & saved)


def _progress(name: str | None) -> bool:
    return name is not None and bool(_PROGRESS.search(name))


@about("task_safety.W056")
def check_waiting(project: Project) -> Iterator[Finding]:
    """No atomic task waits for what begins only when it has ended."""
    text = "waits for the result of a call of its own, which begins only when its transaction is committed."
    hint = "Let a chain go on with the other task where this one ends, or give this one atomic=False."
    return _each(project, "task_safety.W056", _waits, text, hint)


def _waits(body: Body) -> bool:
    if not (body.words & {*_SENDS} and "get" in body.words):
        return False
    results = {
        target.id
        for node in body.nodes
        if isinstance(node, ast.Assign) and _sends_safely(body, node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    waited = (got.value for node in body.nodes if (got := method(node, "get")) is not None)
    return any(_sends_safely(body, one) or (isinstance(one, ast.Name) and one.id in results) for one in waited)


def _sends_safely(body: Body, node: ast.AST) -> bool:
    sends = method(node, *_SENDS)
    return sends is not None and (body.is_itself(sends.value) or isinstance(body.resolved(sends.value), TaskOptions))


@about("task_safety.W057")
def check_early_calls(project: Project) -> Iterator[Finding]:
    """What an atomic task asks for begins only if and when it commits."""
    unknown = set()

    def calls_plain_tasks(body: Body) -> bool:
        if not body.words & {*_SENDS}:
            return False
        called = [body.resolved(one) for node in body.nodes for one in _called(node) if not body.is_itself(one)]
        if None in called:
            unknown.add(body.name)
        return any(isinstance(one, Task) and not isinstance(one, TaskOptions) for one in called)

    text = "calls a plain task, whose message is sent at once: that may begin before the commit, and without one."
    hint = "Make the other one a safe task, or call it with delay_on_commit() or transaction.on_commit()."
    yield from _each(project, "task_safety.W057", calls_plain_tasks, text, hint)
    if unknown:
        yield CannotTell(("task_safety.W057",), f"{named(unknown)}: what it calls cannot be told from its source")


def _called(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the names of the tasks that an expression sends."""
    sends = method(node, *_SENDS)
    if sends is None:
        return
    if isinstance(sends.value, ast.Name | ast.Attribute):
        yield sends.value
    else:
        signatures = (method(one, *_SIGNATURES) for one in (sends.value, *within(sends.value)))
        yield from (one.value for one in signatures if one is not None)
