"""The function of a safe task, as the rules see it."""

import ast
from collections.abc import Iterator
from functools import cached_property

from celery import current_app

from django_task_safety.checks.source import within
from django_task_safety.linting.source import Function, Scopes, SourceFile, assignments
from django_task_safety.options import TaskOptions

_DECORATORS = {
    f"{module}{name}"
    for module in ("django_task_safety.", "django_task_safety.decorators.")
    for name in ("safe_task", "idempotent_task")
}
_PLAIN = {"celery.shared_task", "celery.app.shared_task"}
_BASES = {"django_task_safety.SafeTask", "django_task_safety.tasks.SafeTask"}
_LOOPS = (ast.For, ast.While, ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)


class TaskBody:
    """A function that a decorator makes a safe task.

    Args:
        file: Where it stands.
        function: Its definition.
        options: The decorator's options.
    """

    def __init__(self, file: SourceFile, function: ast.FunctionDef, options: list[ast.keyword]) -> None:
        self.file, self.function = file, function
        self.options = {one.arg: one.value for one in options if one.arg}
        self._open = any(one.arg is None for one in options)

    @cached_property
    def atomic(self) -> bool | None:
        """Whether its body runs in a transaction, None if the source does not say so."""
        value = self.options.get("atomic")
        if value is None:
            base = self.options.get("base")
            own = base is None or self.file.dotted(base) in _BASES
            return True if own and not self._open else None
        return value.value if isinstance(value, ast.Constant) and isinstance(value.value, bool) else None

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """What stands in it, without what stands in functions in it, from the top down."""
        return sorted(
            within(self.function), key=lambda node: (getattr(node, "lineno", 0), getattr(node, "col_offset", 0))
        )

    @cached_property
    def calls(self) -> list[ast.Call]:
        """The calls in it."""
        return [node for node in self.nodes if isinstance(node, ast.Call)]

    @cached_property
    def words(self) -> frozenset[str]:
        """Its names: variables, attributes, keywords, and texts that are one word."""
        fields = ("id", "attr", "arg", "value")
        found = (getattr(node, field, None) for node in ast.walk(self.function) for field in fields)
        return frozenset(one for one in found if isinstance(one, str))

    @cached_property
    def parameters(self) -> list[str]:
        """The names of its parameters."""
        given = self.function.args
        each = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
        return [one.arg for one in each if one is not None]

    @cached_property
    def annotations(self) -> dict[str, ast.expr]:
        """The annotations of its parameters that it does not assign to."""
        given = self.function.args
        each = ((one.arg, one.annotation) for one in (*given.posonlyargs, *given.args, *given.kwonlyargs))
        changed = assignments(self.function.body)
        return {name: annotation for name, annotation in each if annotation is not None and name not in changed}

    @cached_property
    def itself(self) -> str | None:
        """The name of the bound task in it, if it is bound."""
        bind = self.options.get("bind")
        return self.parameters[0] if isinstance(bind, ast.Constant) and bind.value is True and self.parameters else None

    @cached_property
    def assigned(self) -> dict[str, ast.expr | None]:
        """What it assigns to names of its own, None where that is not one expression; its parameters too."""
        shared = {name for node in self.nodes if isinstance(node, ast.Global | ast.Nonlocal) for name in node.names}
        own = {name: value for name, value in assignments(self.function.body).items() if name not in shared}
        return own | dict.fromkeys(self.parameters)

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        """What each part stands in."""
        return {child: node for node in ast.walk(self.function) for child in ast.iter_child_nodes(node)}

    @cached_property
    def enclosing(self) -> list[Function]:
        """The functions in which it is defined, the innermost first."""
        last = self.function.end_lineno or 0
        around = (
            one for one in self.file.functions if one.lineno < self.function.lineno and last <= (one.end_lineno or 0)
        )
        return sorted(around, key=lambda one: one.lineno, reverse=True)

    @cached_property
    def tasks_of_file(self) -> set[str]:
        """The names of the safe tasks beside it, and its own."""
        return {one.function.name for one in tasks_in(self.file)}

    def above(self, node: ast.AST) -> Iterator[ast.AST]:
        """Yield what a part stands in, the nearest first, within the function."""
        while node is not self.function and node in self.parents:
            node = self.parents[node]
            yield node

    def loop(self, node: ast.AST) -> ast.AST | None:
        """Return the loop of this function that a part stands in."""
        return next((one for one in self.above(node) if isinstance(one, _LOOPS)), None)

    def below(self, statement: ast.AST) -> list[ast.stmt]:
        """Return the statements that follow one in its block."""
        for name in ("body", "orelse", "finalbody"):
            block = getattr(self.parents.get(statement), name, None)
            if isinstance(block, list) and statement in block:
                return block[block.index(statement) + 1 :]
        return []

    def meant(self, node: ast.AST | None) -> ast.AST | None:
        """Return what it assigns to a name, and anything else as it is."""
        return self.assigned.get(node.id) if isinstance(node, ast.Name) else node

    def dotted(self, node: ast.AST) -> str | None:
        """Return what an expression in it stands for."""
        return self.file.dotted(node, self._scopes)

    @cached_property
    def _scopes(self) -> Scopes:
        return (self.assigned, *(assignments(one.body) for one in self.enclosing))

    def calling(self, *names: str) -> Iterator[ast.Call]:
        """Yield the calls of these functions; ``a.b.`` means all in it."""
        whole, starts = set(names), tuple(name for name in names if name.endswith((".", "()")))
        for call in self.calls:
            called = self.dotted(call.func)
            if called and (called in whole or (starts and called.startswith(starts))):
                yield call

    def atomic_block(self, node: ast.AST) -> ast.With | None:
        """Return the ``with transaction.atomic()`` of the function in which a part stands."""
        blocks = (one for one in self.above(node) if isinstance(one, ast.With))
        return next(
            (one for one in blocks if any(self.opens_transaction(item.context_expr) for item in one.items)), None
        )

    def opens_transaction(self, node: ast.AST) -> bool:
        """Return whether an expression is ``transaction.atomic()``."""
        return (self.dotted(node) or "").startswith(("django.db.transaction.atomic", "django.db.atomic"))


def tasks_in(file: SourceFile) -> Iterator[TaskBody]:
    """Yield the safe tasks that a file defines."""
    for function in file.functions:
        if isinstance(function, ast.FunctionDef):
            for decorator in function.decorator_list:
                options = decorator.keywords if isinstance(decorator, ast.Call) else []
                if _makes_safe(file, decorator.func if isinstance(decorator, ast.Call) else decorator, options):
                    yield TaskBody(file, function, options)
                    break
    yield from _tasks_of_classes(file)


def _tasks_of_classes(file: SourceFile) -> Iterator[TaskBody]:
    """Yield the methods ``run`` of classes that are safe tasks; what such a class assigns are its options."""
    for node in file.nodes:
        if isinstance(node, ast.ClassDef) and any(file.dotted(base) in _BASES for base in node.bases):
            given = {name: value for name, value in assignments(node.body).items() if value is not None}
            options = [ast.keyword(name, value) for name, value in {**given, "bind": ast.Constant(True)}.items()]
            for one in node.body:
                if isinstance(one, ast.FunctionDef) and one.name == "run":
                    yield TaskBody(file, one, options)


def _makes_safe(file: SourceFile, decorator: ast.expr, options: list[ast.keyword]) -> bool:
    name, bases = file.dotted(decorator), [one.value for one in options if one.arg == "base"]
    if name in _DECORATORS or any(file.dotted(base) in _BASES for base in bases):
        return True
    # What the app's own class of tasks makes of it.
    return name in _PLAIN and not bases and issubclass(current_app.Task, TaskOptions)
