"""What several rules ask of an expression."""

import ast
from collections.abc import Iterator

from django_task_safety.checks.source import method
from django_task_safety.linting.task import TaskBody

_NOT_THE_SAME_TWICE = (
    *("uuid.uuid1", "uuid.uuid4", "time.time", "time.time_ns", "time.monotonic", "random.", "secrets.", "os.urandom"),
    *("datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today"),
    *("django.utils.timezone.now", "django.utils.timezone.localdate", "django.utils.timezone.localtime"),
    "django.utils.crypto.get_random_string",
)

#: Methods that only querysets have.
_OF_QUERYSETS = {"order_by", "select_related", "prefetch_related", "select_for_update"}
_VALUES = ("values", "values_list", "dates", "datetimes")

#: Methods of managers and querysets that write, once more each time.
WRITES = {"create", "bulk_create", "bulk_update", "update", "delete"}
#: Those that find what they made, once more.
REPEATABLE = {"get_or_create", "update_or_create"}


def names_in(node: ast.AST) -> set[str]:
    """Return the names in an expression."""
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    """Return what a call gives for a keyword."""
    return next((one.value for one in call.keywords if one.arg == name), None)


def receiver(call: ast.Call) -> ast.AST:
    """Return the ``x`` of a call ``x.name(…)``, and else what is called."""
    return call.func.value if isinstance(call.func, ast.Attribute) else call.func


def is_open(call: ast.Call) -> bool:
    """Return whether a call takes arguments that its source does not show."""
    return any(one.arg is None for one in call.keywords) or any(isinstance(one, ast.Starred) for one in call.args)


def text_of(node: ast.AST | None) -> str | None:
    """Return a literal text."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def chain(node: ast.AST | None) -> Iterator[tuple[str, ast.Call | None]]:
    """Yield the attributes of ``a.b.c(…).d(…)`` from the last to the first, each with its call."""
    while isinstance(node, ast.Call | ast.Attribute):
        call = node if isinstance(node, ast.Call) else None
        function = call.func if call else node
        if not isinstance(function, ast.Attribute):
            return
        yield function.attr, call
        node = function.value


def is_of_manager(node: ast.AST | None) -> bool:
    """Return whether an expression asks a model's manager: ``Order.objects.filter(…)``."""
    return any(name in ("objects", "_default_manager") for name, _ in chain(node))


def is_queryset(node: ast.AST | None) -> bool:
    """Return whether an expression is a queryset of rows for sure."""
    last = next(chain(node), ("", None))
    lazy = last[0] in ("all", "filter", "exclude", "order_by", "select_related", "prefetch_related", "only", "defer")
    return lazy and last[1] is not None and is_of_manager(node) and not _is_of_values(node)


def _is_of_values(node: ast.AST | None) -> bool:
    return any(name in _VALUES for name, _ in chain(node))


def is_row(body: TaskBody, node: ast.AST) -> bool:
    """Return whether an expression is a row, or a queryset of them, for sure."""
    if isinstance(node, ast.Name) and node.id in body.annotations:
        return ".models." in f".{body.dotted(body.annotations[node.id])}"
    meant = body.meant(node)
    names = [name for name, _ in chain(meant)]
    of_rows = is_of_manager(meant) or bool(set(names) & _OF_QUERYSETS)
    one = bool(names) and names[0] in ("get", "first", "last", "create") and of_rows and not _is_of_values(meant)
    return is_queryset(meant) or one


def changing(body: TaskBody, node: ast.AST) -> ast.Call | None:
    """Return the call in an expression whose answer is another one in each attempt, clock or dice."""
    starts = tuple(name for name in _NOT_THE_SAME_TWICE if name.endswith("."))
    for one in ast.walk(node):
        called = body.dotted(one.func) if isinstance(one, ast.Call) else None
        if called and isinstance(one, ast.Call) and (called in _NOT_THE_SAME_TWICE or called.startswith(starts)):
            return one
    return None


def looks_first(body: TaskBody) -> bool:
    """Return whether a task looks whether something was done already: what it does after that cannot be judged."""
    return bool(body.words & {"exists", "get_or_create", "update_or_create", "aexists"})


def writes(node: ast.AST) -> bool:
    """Return whether a call writes rows: by a manager, or an instance's ``save()``."""
    names = [name for name, _ in chain(node)] if isinstance(node, ast.Call) else []
    return (bool(names) and names[0] in WRITES and "objects" in names) or method(node, "save") is not None
