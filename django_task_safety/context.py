"""The attempt that runs in this thread or greenlet."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from django_task_safety.values.people import text_of_user

if TYPE_CHECKING:
    from uuid import UUID

    from celery.exceptions import Retry

    from django_task_safety.options import TaskOptions
    from django_task_safety.record import AbstractOperation


@dataclasses.dataclass(slots=True)
class Attempt:
    """One attempt of one operation while its body runs."""

    task: TaskOptions
    operation: AbstractOperation
    token: UUID | None
    #: What the body is called with.
    arguments: tuple[Any, Any] = ((), {})
    #: Set by ``self.retry()``: what the next attempt changes, and when it runs.
    retry: RetryRequest | None = None
    #: Set by ``self.replace()``: the columns with which the row continues as another task, if it does.
    replacement: dict[str, Any] | None = None
    replaced: bool = False
    #: Whether the retry was recorded together with what the body wrote.
    requeued_with_body: bool = False
    #: In eager mode: what the replacement returned.
    eager_value: Any = None
    #: Whether it began inside of a transaction, as eager calls may.
    in_callers_transaction: bool = False
    #: The connection on which the database's triggers know the attempt until it is over.
    exempt: Any = None
    #: A second connection, outside the body's transaction, for progress and cancellation.
    side: Any = None
    last_report: float = 0.0
    #: Whether the result backend did not take the progress, and is not told any more.
    backend_fails: bool = False

    @property
    def own_transaction(self) -> bool:
        """Whether the body runs inside a transaction that this attempt opens."""
        return self.task.atomic and not self.in_callers_transaction


@dataclasses.dataclass(frozen=True, slots=True)
class RetryRequest:
    """What ``self.retry()`` asked for."""

    signal: Retry
    delay: float
    exc: BaseException | None = None
    args: Any = None
    kwargs: Any = None
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    max_retries: int | None = None


_current: ContextVar[Attempt | None] = ContextVar("django_task_safety_attempt", default=None)
#: In a tuple: nobody may be said too. A user may be lazy, and is looked at when something is enqueued.
_requester: ContextVar[tuple[Any] | None] = ContextVar("django_task_safety_requester", default=None)


def current_attempt() -> Attempt | None:
    """Return the attempt whose body runs here, or None."""
    return _current.get()


def current_operation() -> AbstractOperation | None:
    """Return the running ``Operation``, or None outside a task and in a plain call of one."""
    attempt = _current.get()
    return attempt.operation if attempt is not None else None


@contextmanager
def requested_by(user: Any) -> Iterator[None]:
    """Have what is enqueued in the block say that ``user`` asked for it: a user, a user's primary key, or None for
    nobody. A task's own calls say who asked for the task, unless they are in such a block."""
    token = _requester.set((user,))
    try:
        yield
    finally:
        _requester.reset(token)


def requester() -> str:
    """Return the primary key of the user who asks for what is enqueued here, as text; "" where nobody is known."""
    named, attempt = _requester.get(), _current.get()
    if named is not None:
        return text_of_user(named[0])
    return attempt.operation.requested_by if attempt is not None else ""


@contextmanager
def running(attempt: Attempt) -> Iterator[Attempt]:
    """Make ``attempt`` the current one."""
    token = _current.set(attempt)
    try:
        yield attempt
    finally:
        _current.reset(token)
        if attempt.side is not None:
            attempt.side.close()


@contextmanager
def plain_call() -> Iterator[None]:
    """Hide the current attempt from a task that is called as a plain function inside another one's body."""
    token = _current.set(None)
    try:
        yield
    finally:
        _current.reset(token)
