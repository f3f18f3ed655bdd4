"""A source file as the rules see it: what its names stand for, and which findings its comments silence."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

#: ``# task-safety: ok=L101 reason``, or ``ok=L101,L102 reason``.
_COMMENT = re.compile(r"#\s*task-safety:\s*ok=(?P<ids>[\w,]*)(?P<reason>.*)")
Function = ast.FunctionDef | ast.AsyncFunctionDef
#: What functions assign to names, the innermost first.
Scopes = tuple[dict[str, ast.expr | None], ...]


class Suppression(NamedTuple):
    """A comment that silences findings of its line."""

    line: int
    ids: tuple[str, ...]
    reason: str


class SourceFile:
    """A file of Python.

    Args:
        path: Where it is.
        text: What stands in it.

    Raises:
        SyntaxError: If it is no Python.
    """

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self._text = text
        self.tree = ast.parse(text)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All that stands in it."""
        return list(ast.walk(self.tree))

    @cached_property
    def suppressions(self) -> list[Suppression]:
        """Its comments that silence something, from the top down."""
        tokens = tokenize.generate_tokens(io.StringIO(self._text).readline)
        comments = (
            (token.start[0], _COMMENT.match(token.string)) for token in tokens if token.type == tokenize.COMMENT
        )
        return [
            Suppression(line, tuple(filter(None, found["ids"].split(","))), found["reason"].strip())
            for line, found in comments
            if found
        ]

    @cached_property
    def imports(self) -> dict[str, str]:
        """What each imported name stands for, as a dotted path; a leading dot means: in this package."""
        return dict(self._imported())

    def _imported(self) -> Iterator[tuple[str, str]]:
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    root = alias.name.partition(".")[0]
                    yield (alias.asname, alias.name) if alias.asname else (root, root)
            elif isinstance(node, ast.ImportFrom):
                start = "." * node.level + f"{node.module}." if node.module else "." * node.level
                for alias in node.names:
                    yield alias.asname or alias.name, start + alias.name

    @cached_property
    def assigned(self) -> dict[str, ast.expr | None]:
        """What the module assigns to its own names, None where that is not one expression."""
        return assignments(self.tree.body)

    @cached_property
    def functions(self) -> list[Function]:
        """Its functions, those in functions too."""
        return [node for node in self.nodes if isinstance(node, Function)]

    def dotted(self, node: ast.AST, scopes: Scopes = (), above: frozenset[str] = frozenset()) -> str | None:
        """Return what an expression stands for: ``time.sleep``, or ``pathlib.Path().write_text`` of what a call makes.

        Args:
            node: The expression.
            scopes: The names that functions assign, those of the innermost first; None for what cannot be known.
            above: The names that are being looked up: one that is assigned from itself stands for nothing.
        """
        if isinstance(node, ast.Attribute):
            holder = self.dotted(node.value, scopes, above)
            return f"{holder}.{node.attr}" if holder else None
        if isinstance(node, ast.Call):
            made = self.dotted(node.func, scopes, above)
            return f"{made}()" if made else None
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            joined = self.dotted(node.left, scopes, above)
            return joined if joined == "pathlib.Path()" else None
        return self._named(node.id, scopes, above) if isinstance(node, ast.Name) else None

    def _named(self, name: str, scopes: Scopes, above: frozenset[str]) -> str | None:
        for depth, scope in enumerate((*scopes, self.assigned)):
            if name in scope:
                value = scope[name]
                known = isinstance(value, ast.Call | ast.BinOp) and name not in above
                return self.dotted(value, scopes[depth:], above | {name}) if known and value is not None else None
        return None if name in self._defined else self.imports.get(name, name)

    @cached_property
    def _defined(self) -> set[str]:
        return {node.name for node in self.nodes if isinstance(node, Function | ast.ClassDef)}


def assignments(body: list[ast.stmt]) -> dict[str, ast.expr | None]:
    """Return what statements assign to names, without those in functions in them; None for what is unclear."""
    found: dict[str, ast.expr | None] = {}
    left: list[ast.AST] = list(body)
    while left:
        node = left.pop()
        for name, value in _targets(node):
            found[name] = None if name in found else value
        if not isinstance(node, Function | ast.Lambda | ast.ClassDef):
            left += ast.iter_child_nodes(node)
    return found


def _targets(node: ast.AST) -> Iterator[tuple[str, ast.expr | None]]:
    pairs: list[tuple[ast.AST | None, ast.expr | None]] = []
    if isinstance(node, ast.Assign):
        pairs = [(target, node.value) for target in node.targets]
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr):
        pairs = [(node.target, node.value)]
    elif isinstance(node, ast.withitem):
        pairs = [(node.optional_vars, node.context_expr)]
    elif isinstance(node, ast.AugAssign | ast.For | ast.AsyncFor | ast.comprehension):
        pairs = [(node.target, None)]
    elif isinstance(node, ast.ExceptHandler) and node.name:
        yield node.name, None
    for target, value in pairs:
        for one in ast.walk(target) if target is not None else ():
            if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
                yield one.id, value if one is target else None
