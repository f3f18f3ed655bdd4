"""Rules of a task's parameters, its key, and what is said of them."""

import ast
import re
from collections.abc import Iterator

from django_task_safety.checks.source import method
from django_task_safety.linting.expressions import changing
from django_task_safety.linting.rules.rule import Answer, Rule
from django_task_safety.linting.source import Function
from django_task_safety.linting.task import TaskBody

_MUTABLE = (
    "list",
    "dict",
    "set",
    "bytearray",
    "collections.defaultdict",
    "collections.deque",
    "collections.OrderedDict",
)
_SECRET = re.compile(
    r"(^|_)(passwords?|passwd|passphrase|secrets?|(?<!page_)(?<!next_)(?<!sync_)token|api_keys?|private_keys?|credentials"
    r"|card_numbers?|cvv|cvc|ibans?)$",
    re.IGNORECASE,
)
_LEVELS = ("debug", "info", "warning", "error", "critical", "exception")
_SAFE = ("len", "bool", "type")


def _defaults(body: TaskBody) -> list[ast.expr]:
    given = body.function.args
    return [one for one in (*given.defaults, *given.kw_defaults) if one is not None]


def _mutable(body: TaskBody) -> Iterator[Answer]:
    for one in _defaults(body):
        literal = isinstance(one, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp)
        if literal or (isinstance(one, ast.Call) and body.dotted(one.func) in _MUTABLE):
            yield one


def _early(body: TaskBody) -> Iterator[Answer]:
    return (one for one in _defaults(body) if changing(body, one))


def _key_functions(body: TaskBody) -> list[ast.AST]:
    key = body.options.get("key")
    if isinstance(key, ast.Name):
        return [one for one in body.file.tree.body if isinstance(one, Function) and one.name == key.id]
    return [key] if isinstance(key, ast.Lambda) else []


def _changing_key(body: TaskBody) -> Iterator[Answer]:
    found = (changing(body, one) for one in _key_functions(body))
    return (one for one in found if one is not None)


def _salted_key(body: TaskBody) -> Iterator[Answer]:
    for function in _key_functions(body):
        for one in ast.walk(function):
            if isinstance(one, ast.Call) and body.dotted(one.func) in ("hash", "id"):
                yield one


def _logged_secrets(body: TaskBody) -> Iterator[Answer]:
    for call in body.calls:
        logged = method(call, *_LEVELS)
        logs = logged is not None and ast.unparse(logged.value).lower() in (
            "logger",
            "log",
            "logging",
            "_logger",
            "self.log",
        )
        if (logs or body.dotted(call.func) == "print") and any(_is_secret(one) for one in call.args):
            yield call


def _is_secret(node: ast.AST) -> bool:
    if isinstance(node, ast.Name | ast.Attribute):
        return bool(_SECRET.search(node.id if isinstance(node, ast.Name) else node.attr))
    values = [one.value for one in ast.walk(node) if isinstance(one, ast.FormattedValue)]
    if isinstance(node, ast.BinOp):
        values = [node.right, *(node.right.elts if isinstance(node.right, ast.Tuple) else ())]
    return any(isinstance(one, ast.Name | ast.Attribute) and _is_secret(one) for one in values)


RULES = (
    Rule(
        "L801",
        "A mutable default",
        "All calls in a process share the one object: what one of them adds the next one finds. Take None for the "
        "default, and make it in the body.",
        _mutable,
    ),
    Rule(
        "L802",
        "A default that is computed once",
        "The clock is read, or the dice thrown, when the module is imported: all calls get the time at which their "
        "process began. Take None for the default, and let the caller pass the value.",
        _early,
    ),
    Rule(
        "L803",
        "A key from the clock or at random",
        "Each call has another key, so no call is a duplicate, and a worker that computes it again finds another one. "
        "Take it from the arguments; for once a day or month there is the option period.",
        _changing_key,
    ),
    Rule(
        "L804",
        "A key from hash() or id()",
        "Both are other numbers in each process (hash() of texts is salted), so that no duplicate is found. Return the "
        "values themselves: keys take lists, and are hashed here.",
        _salted_key,
    ),
    Rule(
        "L805",
        "A secret is printed",
        "The workers' logs are kept, copied and read by many. Leave it out, and name the parameter in redact.",
        _logged_secrets,
    ),
)
