"""Rules of what keeps a worker, or a transaction, waiting."""

import ast
from collections.abc import Iterator

from django_task_safety.checks.source import method, within
from django_task_safety.linting.expressions import is_open, keyword
from django_task_safety.linting.rules.rule import Answer, Rule, calls
from django_task_safety.linting.task import TaskBody

_SENDS = ("delay", "apply_async")
_CANVAS = ("celery.group()", "celery.chain()", "celery.chord()")
_RESULTS = ("celery.result.AsyncResult()", "celery.result.GroupResult()", *(f"{one}()" for one in _CANVAS))
_RUNS = ("subprocess.run", "subprocess.call", "subprocess.check_call", "subprocess.check_output")
#: What raises where the attempt is to end.
_ENDS = ("check_cancelled", "is_cancelled", "retry")
_ASKS = ("input", "breakpoint", "pdb.set_trace", "ipdb.set_trace", "getpass.getpass")


def _is_result(body: TaskBody, node: ast.AST) -> bool:
    meant = body.meant(node)
    if meant is None:
        return False
    return method(meant, *_SENDS) is not None or (body.dotted(meant) or "") in _RESULTS


def _waits(body: TaskBody) -> Iterator[Answer]:
    for call in body.calls:
        waited = method(call, "get", "join", "wait")
        if waited is not None and _is_result(body, waited.value):
            yield call


def _endless(body: TaskBody) -> Iterator[Answer]:
    for loop in body.nodes:
        if isinstance(loop, ast.While) and isinstance(loop.test, ast.Constant) and loop.test.value:
            inside = list(within(loop))
            left = any(
                isinstance(one, ast.Return | ast.Raise | ast.Yield) or _breaks(body, one, loop) for one in inside
            )
            if not left and not any(isinstance(one, ast.Attribute) and one.attr in _ENDS for one in inside):
                yield loop


def _breaks(body: TaskBody, node: ast.AST, loop: ast.While) -> bool:
    """Return whether it is a break out of this loop, not of another one in it."""
    if not isinstance(node, ast.Break):
        return False
    inner = next(one for one in body.above(node) if isinstance(one, ast.For | ast.While))
    return inner is loop or any(node is one for last in inner.orelse for one in ast.walk(last))


def _unlimited(body: TaskBody) -> Iterator[Answer]:
    for call in body.calling(*_RUNS):
        if not any(one.arg in (None, "timeout") for one in call.keywords):
            yield call
    yield from body.calling("os.system", "os.popen")
    for call in body.calling("subprocess.Popen().wait", "subprocess.Popen().communicate"):
        limited = keyword(call, "timeout") or len(call.args) > (0 if method(call, "wait") else 1)
        if not limited and not is_open(call):
            yield call


RULES = (
    Rule(
        "L301",
        "A task sleeps in its transaction",
        "Its locks and its snapshot are kept all the time, and so is the worker. Try again later (raise "
        "self.retry(countdown=…)), enqueue the rest with a countdown, or give the task atomic=False.",
        calls("time.sleep"),
        atomic=True,
    ),
    Rule(
        "L302",
        "A task waits for another one",
        "A worker waits for a worker: with all of them waiting nothing moves any more, and what an atomic task "
        "enqueues begins only when it has ended. Let a chain or a chord go on with the result.",
        _waits,
    ),
    Rule(
        "L303",
        "A loop that nothing ends",
        "The task runs into its time limit in each attempt, and cannot be cancelled. Loop over what there is, with "
        "track(), or ask current_operation().check_cancelled() in each round.",
        _endless,
    ),
    Rule(
        "L304",
        "A program is run without a time limit",
        "A time limit of the task kills the worker's child and leaves the program behind, which goes on beside the "
        "next attempt. Use subprocess.run(…, timeout=…), shorter than the task's limit.",
        _unlimited,
    ),
    Rule(
        "L305",
        "Somebody at a keyboard is waited for",
        "A worker has none: the task fails at once, or hangs until its time limit. Take it out.",
        calls(*_ASKS),
    ),
)
