"""Rules of errors that nobody is to catch, or that nobody hears of."""

import ast
from collections.abc import Iterator

from django_task_safety.checks.source import method, within
from django_task_safety.linting.expressions import keyword
from django_task_safety.linting.rules.rule import Answer, Rule
from django_task_safety.linting.task import TaskBody

_ENDS = (
    *(f"django_task_safety.{name}" for name in ("OperationCancelled", "OperationSuperseded", "LockLost")),
    *(f"django_task_safety.errors.{name}" for name in ("OperationCancelled", "OperationSuperseded", "LockLost")),
    *("celery.exceptions.Retry", "celery.exceptions.Ignore", "celery.exceptions.Reject"),
)
_TELLS = ("check_cancelled", "retry", "report")


def _handlers(body: TaskBody) -> Iterator[tuple[ast.Try, ast.ExceptHandler, set[str | None]]]:
    """Yield what catches and does not raise, with what it catches; a bare except catches ``BaseException``."""
    for node in body.nodes:
        if isinstance(node, ast.Try):
            for handler in node.handlers:
                if not any(_raises(body, one) for part in handler.body for one in ast.walk(part)):
                    yield node, handler, _kinds(body, handler.type)


def _raises(body: TaskBody, node: ast.AST) -> bool:
    return isinstance(node, ast.Raise) or _retries(body, node)


def _retries(body: TaskBody, node: ast.AST) -> bool:
    """Return whether it is a ``self.retry()``, which raises."""
    retry = method(node, "retry")
    mine = retry is not None and isinstance(retry.value, ast.Name) and retry.value.id == body.itself
    return mine and isinstance(node, ast.Call) and not keyword(node, "throw")


def _suppressing(body: TaskBody, kind: str) -> Iterator[Answer]:
    for call in body.calling("contextlib.suppress"):
        if any(body.dotted(one) == kind for one in call.args):
            yield call


def _kinds(body: TaskBody, kind: ast.expr | None) -> set[str | None]:
    if kind is None:
        return {"BaseException"}
    return {body.dotted(one) for one in (kind.elts if isinstance(kind, ast.Tuple) else [kind])}


def _everything(body: TaskBody) -> Iterator[Answer]:
    yield from _suppressing(body, "BaseException")
    yield from (handler for _, handler, kinds in _handlers(body) if "BaseException" in kinds)


def _ends(body: TaskBody) -> Iterator[Answer]:
    return (handler for _, handler, kinds in _handlers(body) if kinds & set(_ENDS))


def _in_passing(body: TaskBody) -> Iterator[Answer]:
    """Yield broad handlers around what says by an exception that the attempt ends."""
    for node, handler, kinds in _handlers(body):
        before = node.handlers[: node.handlers.index(handler)]
        spared = any(_kinds(body, one.type) & set(_ENDS) for one in before)
        if "Exception" in kinds and not spared and _tells(body, node.body):
            yield handler


def _tells(body: TaskBody, statements: list[ast.stmt]) -> bool:
    for call in (one for part in statements for one in (part, *within(part)) if isinstance(one, ast.Call)):
        told = method(call, *_TELLS)
        if told is not None:
            mine = isinstance(told.value, ast.Name) and told.value.id == body.itself
            if told.attr != "retry" or mine:
                return told.attr != "report" or "current_operation" in body.words
        if body.dotted(call.func) == "django_task_safety.track":
            return True
    return False


def _silent(body: TaskBody) -> Iterator[Answer]:
    for _, handler, kinds in _handlers(body):
        if "Exception" in kinds and all(_does_nothing(one) for one in handler.body):
            yield handler
    yield from _suppressing(body, "Exception")


def _does_nothing(node: ast.stmt) -> bool:
    if isinstance(node, ast.Return):
        return node.value is None or (isinstance(node.value, ast.Constant) and node.value.value is None)
    return isinstance(node, ast.Pass | ast.Continue) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    )


def _unraised(body: TaskBody) -> Iterator[Answer]:
    for call in body.calls:
        statement = body.parents.get(call)
        below = body.below(statement) if isinstance(statement, ast.Expr) and _retries(body, call) else []
        if any(not isinstance(one, ast.Return | ast.Pass | ast.Raise) for one in below):
            yield call


RULES = (
    Rule(
        "L701",
        "Everything is caught",
        "Time limits, the end of a worker and lost leases come as exceptions too: the task goes on when it should have "
        "ended. Catch Exception, or better the errors that you expect, or raise again at the end.",
        _everything,
    ),
    Rule(
        "L702",
        "The end of the attempt is caught",
        "The exception says that the attempt ends here (cancelled, retried, superseded): who catches it goes on with "
        "work that nobody wants any more, or makes a success of a retry. Clean up, and raise it again.",
        _ends,
    ),
    Rule(
        "L703",
        "The end of the attempt is caught in passing",
        "A cancel, and self.retry(), are exceptions: except Exception around them makes a success of them. Put an "
        "except OperationCancelled (or Retry) that raises before it, or move the call out of the try.",
        _in_passing,
    ),
    Rule(
        "L704",
        "An error is caught and nobody hears of it",
        "The operation succeeds although its work was not done, and is not tried again. Let it fail: it is retried and "
        "shown. Or catch the errors that you expect.",
        _silent,
    ),
    Rule(
        "L705",
        "self.retry() in the middle of a body",
        "It raises an exception, so what stands below it never runs. Write raise self.retry(…) as the last line of its "
        "block, and take the rest away.",
        _unraised,
    ),
)
