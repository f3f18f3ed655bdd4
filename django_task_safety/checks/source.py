"""What can be read of a task's body: its names, and its source where there is one."""

import ast
import importlib.util
import inspect
import linecache
import sys
import textwrap
from collections.abc import Iterator
from functools import cached_property
from types import CodeType, FunctionType, ModuleType
from typing import Any

from django_task_safety.options import TaskOptions

#: What is run by others, or has nothing in it.
_CLOSED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef, ast.Name, ast.Constant, ast.expr_context)
#: So many lines may follow the last of a function that does something.
_CLOSING = 6


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
        return list(within(_parsed(self._function.__code__)))

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


def _parsed(code: CodeType) -> ast.FunctionDef:
    """Return a function's syntax tree; the file is not parsed, only the lines of the function."""
    lines = linecache.getlines(code.co_filename)
    first, last = code.co_firstlineno - 1, _last_line(code)
    for end in range(last, last + _CLOSING):
        try:
            (node,) = ast.parse(textwrap.dedent("".join(lines[first:end]))).body
        except (SyntaxError, ValueError):
            continue  # brackets that are closed further down
        if isinstance(node, ast.FunctionDef) and node.name == code.co_name:
            return node
    raise Unread


def _last_line(code: CodeType) -> int:
    inner = [_last_line(one) for one in code.co_consts if isinstance(one, CodeType)]
    return max([code.co_firstlineno, *inner, *(end for _, end, _, _ in code.co_positions() if end is not None)])


def within(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what is in a function, a loop or an expression, but not in a function in it."""
    left: list[ast.AST] = list(node.body) if isinstance(node, ast.FunctionDef) else list(ast.iter_child_nodes(node))
    while left:
        node = left.pop()
        yield node
        if not isinstance(node, _CLOSED):
            left += ast.iter_child_nodes(node)


def method(call: ast.AST, *names: str) -> ast.Attribute | None:
    """Return the ``x.name`` of a call ``x.name(…)``."""
    function = call.func if isinstance(call, ast.Call) else None
    return function if isinstance(function, ast.Attribute) and function.attr in names else None
