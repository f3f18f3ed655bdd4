"""Rules of what a task does to its transaction."""

import ast
import re
from collections.abc import Iterator

from celery import current_app

from django_task_safety.checks.bodies import DJANGOS_RESULTS
from django_task_safety.checks.source import method
from django_task_safety.conf import conf
from django_task_safety.linting.expressions import (
    REPEATABLE,
    WRITES,
    chain,
    is_of_manager,
    keyword,
    text_of,
    writes,
)
from django_task_safety.linting.rules.rule import Answer, Rule, Unsure, calls
from django_task_safety.linting.task import TaskBody

_COMMITS = tuple(
    f"django.db.{of}.{name}"
    for of in ("transaction", "connection")
    for name in ("commit", "rollback", "set_autocommit")
)
_SQL = re.compile(r"\s*(commit|rollback(?!\s+to)|begin|start\s+transaction|set\s+autocommit)\b", re.IGNORECASE)
_READS = ("get", "first", "last", "exists", "count", "aggregate", "values_list")


def _sql(body: TaskBody) -> Iterator[Answer]:
    for call in body.calls:
        text = text_of(call.args[0]) if method(call, "execute") is not None and call.args else None
        if text and _SQL.match(text):
            yield call


def _durable(body: TaskBody) -> Iterator[Answer]:
    for call in body.calls:
        durable = keyword(call, "durable") if body.opens_transaction(call) else None
        if isinstance(durable, ast.Constant) and durable.value is True:
            yield call


def _elsewhere(body: TaskBody) -> Iterator[Answer]:
    for call in body.calls:
        names = dict(chain(call))
        using = names.get("using")
        last = next(iter(names), "")
        alias = next(iter(using.args), None) if using is not None and last in WRITES | REPEATABLE else None
        if method(call, "save", "delete") is not None or body.opens_transaction(call):
            alias = keyword(call, "using") or alias
        named = text_of(alias)
        if named and named != conf().DATABASE:
            yield Unsure(call) if last in REPEATABLE else call


def _locks(body: TaskBody) -> Iterator[Answer]:
    if len(body.function.decorator_list) > 1:
        return  # one of the others may open a transaction
    for call in body.calls:
        names = [name for name, _ in chain(call)]
        looped = isinstance(parent := body.parents.get(call), ast.For) and parent.iter is call
        read = bool(names) and (names[0] in _READS or looped)
        if read and "select_for_update" in names and body.atomic_block(call) is None:
            # Another block than atomic() may open a transaction too.
            yield Unsure(call) if any(isinstance(one, ast.With) for one in body.above(call)) else call


def _states(body: TaskBody) -> Iterator[Answer]:
    if not body.itself or not DJANGOS_RESULTS.search(str(current_app.conf.result_backend)):
        return
    for call in body.calls:
        told = method(call, "update_state")
        if told is not None and isinstance(told.value, ast.Name) and told.value.id == body.itself:
            yield call


def _caught(body: TaskBody) -> Iterator[Answer]:
    for node in body.nodes:
        if not isinstance(node, ast.Try):
            continue
        inside = [one for statement in node.body for one in ast.walk(statement)]
        guarded = any(isinstance(one, ast.With) for one in inside)
        asked = any(writes(one) or _reads(one) for one in inside)
        for handler in node.handlers:
            known = _database_error(body, handler.type)
            ends = any(isinstance(one, ast.Raise) for statement in handler.body for one in ast.walk(statement))
            if known and asked and not guarded and not ends:
                yield handler


def _reads(node: ast.AST) -> bool:
    """Return whether a call asks a manager, but for those that have a savepoint of their own."""
    return isinstance(node, ast.Call) and is_of_manager(node) and not any(name in REPEATABLE for name, _ in chain(node))


def _database_error(body: TaskBody, kind: ast.expr | None) -> bool:
    kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind] if kind is not None else []
    names = {
        f"{module}.{name}"
        for module in ("django.db", "django.db.utils")
        for name in ("IntegrityError", "DatabaseError", "OperationalError", "DataError", "InternalError")
    }
    return any(body.dotted(one) in names for one in kinds)


def _unsure_where_decorated(body: TaskBody) -> Iterator[Answer]:
    for call in body.calling("django.db.connection.close", "django.db.connections.close_all"):
        yield Unsure(call) if body.atomic_block(call) else call


RULES = (
    Rule(
        "L501",
        "A task commits or rolls back by hand",
        "The body's writes and the operation's end belong to one transaction: Django refuses a commit in it, and one "
        "behind Django's back makes a half-done task look done. Leave it to the task, or give it atomic=False and use "
        "transaction.atomic() in it.",
        calls(*_COMMITS),
    ),
    Rule(
        "L502",
        "SQL that commits or rolls back",
        "It ends the task's transaction behind Django's back, so that a crash afterwards leaves half of the work. Take "
        "it out; with atomic=False use transaction.atomic().",
        _sql,
    ),
    Rule(
        "L503",
        "atomic(durable=True) in a task's transaction",
        "Django raises RuntimeError in each attempt, for the block is not the outermost one. Take durable=True away, "
        "or give the task atomic=False.",
        _durable,
        atomic=True,
    ),
    Rule(
        "L504",
        "Another database is written",
        "It commits on its own: after a rollback here it stays, and the next attempt writes it again. Write it in a "
        "task of its own, enqueued here, by a statement that may be repeated (update_or_create).",
        _elsewhere,
        atomic=True,
    ),
    Rule(
        "L505",
        "select_for_update() outside of a transaction",
        "Django raises TransactionManagementError, and where it does not, nothing is locked. Put it and what depends "
        "on it into a transaction.atomic() block.",
        _locks,
        atomic=False,
    ),
    Rule(
        "L506",
        "update_state() in the transaction",
        "Django's result table is written in the task's transaction, where nobody sees it before the end. Report "
        "progress with track() or current_operation().report(), and read the operation.",
        _states,
        atomic=True,
    ),
    Rule(
        "L507",
        "A database error is caught in the transaction",
        "After it the transaction is broken: PostgreSQL refuses each further statement, the operation's end included. "
        "Put what may fail into a with transaction.atomic() of its own inside the try.",
        _caught,
        atomic=True,
    ),
    Rule(
        "L508",
        "The connection is closed in the transaction",
        "The transaction is lost with it, and the attempt fails at its end. Leave connections to Django and Celery.",
        _unsure_where_decorated,
        atomic=True,
    ),
)
