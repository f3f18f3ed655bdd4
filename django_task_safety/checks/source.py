"""What can be read of a task's body: its names, and its source where there is one."""

import ast
import importlib.util
import inspect
import linecache
import sys
from collections.abc import Iterator
from functools import cached_property, lru_cache
from types import CodeType, FunctionType, ModuleType
from typing import Any

from django_task_safety.options import TaskOptions

_INNER = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


class Unread(Exception):
    """A body might do it, but has no source here."""


class Body:
    """The function of an atomic task.

    Args:
        task: The task.
    """

    def __init__(self, task: TaskOptions) -> None:
        self.name = task.name
        function = inspect.unwrap(task.body)
        self._function: Any = getattr(function, "__func__", function)
        self._own = inspect.ismethod(function)

    @cached_property
    def words(self) -> frozenset[str]:
        """The names in it: those of variables, attributes and keywords."""
        code = getattr(self._function, "__code__", None)
        return frozenset(_words(code)) if code is not None else frozenset()

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """What stands in it, without what stands in functions in it.

        Raises:
            Unread: If there is no source.
        """
        code = self._function.__code__
        for node in _functions(code.co_filename):
            first = min(one.lineno for one in (node, *node.decorator_list))
            if (node.name, first) == (code.co_name, code.co_firstlineno):
                return list(within(node))
        raise Unread

    def resolved(self, node: ast.AST) -> Any:
        """Return what a name in it stands for when the task runs, None if that cannot be known."""
        if isinstance(node, ast.Name):
            return self._names.get(node.id)
        if not isinstance(node, ast.Attribute):
            return None
        holder = self.resolved(node.value)
        return getattr(holder, node.attr, None) if isinstance(holder, ModuleType) else None

    @cached_property
    def _names(self) -> dict[str, Any]:
        function: FunctionType = self._function
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        known = {**function.__globals__, **{name: cell.cell_contents for name, cell in cells}}
        known = {name: value for name, value in known.items() if name not in function.__code__.co_varnames}
        return known | dict(self._imports())

    def _imports(self) -> Iterator[tuple[str, Any]]:
        package = self._function.__globals__.get("__package__") or ""
        for node in self.nodes:
            if isinstance(node, ast.ImportFrom):
                name = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
                for alias in node.names:
                    submodule = sys.modules.get(f"{name}.{alias.name}")
                    yield alias.asname or alias.name, getattr(sys.modules.get(name), alias.name, submodule)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    root = alias.name if alias.asname else alias.name.partition(".")[0]
                    yield alias.asname or root, sys.modules.get(root)

    def is_itself(self, node: ast.AST) -> bool:
        """Return whether a name is that of the bound task."""
        arguments = self._function.__code__.co_varnames
        return self._own and isinstance(node, ast.Name) and node.id == arguments[0]


def _words(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _words(constant)
        elif isinstance(constant, tuple):
            yield from (one for one in constant if isinstance(one, str))  # those of keywords


@lru_cache(maxsize=2)  # tasks are looked at by name, and so by module
def _functions(filename: str) -> list[Any]:
    try:
        tree = ast.parse("".join(linecache.getlines(filename)))
    except (SyntaxError, ValueError):
        return []
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def within(node: Any) -> Iterator[ast.AST]:
    """Yield what is in a function, a loop or an expression, but not in a function in it."""
    for child in node.body if isinstance(node, ast.FunctionDef) else ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, _INNER):
            yield from within(child)


def method(call: ast.AST, *names: str) -> ast.Attribute | None:
    """Return the ``x.name`` of a call ``x.name(…)``."""
    function = call.func if isinstance(call, ast.Call) else None
    return function if isinstance(function, ast.Attribute) and function.attr in names else None
