"""Rules of what a task does to the process that it runs in."""

import ast
from collections.abc import Iterator

from django_task_safety.linting.rules.rule import Answer, Rule, Unsure, calls
from django_task_safety.linting.task import TaskBody

_EXITS = ("os._exit", "sys.exit", "exit", "quit", "os.abort")
_STARTS = (
    *("threading.Thread", "threading.Timer", "multiprocessing.Process", "multiprocessing.Pool", "os.fork"),
    *("concurrent.futures.ThreadPoolExecutor", "concurrent.futures.ProcessPoolExecutor"),
)
_SIGNALS = ("signal.signal", "signal.alarm", "signal.setitimer", "signal.pthread_sigmask", "signal.set_wakeup_fd")
_CHANGES = ("os.chdir", "os.umask", "os.putenv", "locale.setlocale", "socket.setdefaulttimeout", "random.seed")
_UNDONE = {
    "django.utils.translation.activate": ("deactivate", "deactivate_all"),
    "django.utils.timezone.activate": ("deactivate",),
}


def _exits(body: TaskBody) -> Iterator[Answer]:
    yield from body.calling(*_EXITS)
    for node in body.nodes:
        raised = body.dotted(node.exc) if isinstance(node, ast.Raise) and node.exc is not None else None
        if raised in ("SystemExit", "SystemExit()"):
            yield node
    for call in body.calling("os.kill"):
        if call.args and body.dotted(call.args[0]) == "os.getpid()":
            yield call


def _starts(body: TaskBody) -> Iterator[Answer]:
    yield from body.calling(*_STARTS)
    if not body.words & {"wait", "communicate"}:
        yield from body.calling("subprocess.Popen")


def _changes(body: TaskBody) -> Iterator[Answer]:
    changed = list(body.calling(*_CHANGES))
    ends = [last for one in body.nodes if isinstance(one, ast.Try) for part in one.finalbody for last in ast.walk(part)]
    undone = {body.dotted(one.func) for one in changed if one in ends}
    for call in changed:
        if call not in ends:
            yield Unsure(call) if body.dotted(call.func) in undone else call
    for name, undo in _UNDONE.items():
        if not body.words & set(undo):
            yield from body.calling(name)
    for node in body.nodes:
        targets = node.targets if isinstance(node, ast.Assign) else []
        for target in targets:
            held = body.dotted(target.value) if isinstance(target, ast.Subscript | ast.Attribute) else None
            if held == ("os.environ" if isinstance(target, ast.Subscript) else "django.conf.settings"):
                yield node


RULES = (
    Rule(
        "L401",
        "A task ends its process",
        "It counts as a lost worker: the attempt is rolled back and made again until no attempt is left, and "
        "os._exit() takes the other attempts of the process along. Return, or raise an error that says what is wrong.",
        _exits,
    ),
    Rule(
        "L402",
        "Threads and processes of a task's own",
        "What they write is in other transactions, goes on after a cancel, a failure or a lost lease, and is not "
        "waited for by the commit. Enqueue tasks, or split() the work.",
        _starts,
    ),
    Rule(
        "L403",
        "Signals of the process are changed",
        "Celery ends and limits tasks by signals: a handler or an alarm of the task's own takes them away, for all "
        "tasks that follow too. Use time_limit, soft_time_limit and check_cancelled().",
        calls(*_SIGNALS),
    ),
    Rule(
        "L404",
        "What a task changes for the whole process",
        "The next tasks in this process run with it, and those beside it. Pass it as an argument, or use what sets it "
        "back: override() of translation and timezone, env= of subprocess.",
        _changes,
    ),
)
