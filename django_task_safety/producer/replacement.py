"""``self.replace()``: the replacement keeps Celery's id, and so, where it can, the row."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from django_task_safety import ids, ledger
from django_task_safety.conf import conf
from django_task_safety.context import Attempt
from django_task_safety.ledger import schedule
from django_task_safety.objects import conflicts
from django_task_safety.options import TaskOptions
from django_task_safety.producer import waiter
from django_task_safety.producer.call import Call
from django_task_safety.record import AbstractOperation
from django_task_safety.values.clock import After, Now

#: What the row takes over of the replacement's, besides its object.
_TAKEN_OVER = ("payload", "options", "max_attempts", "expires_at", "retention", "available_at", "due_at", "delivered")
_replacing: ContextVar[Attempt | None] = ContextVar("django_task_safety_replacement", default=None)


@contextmanager
def replacing(attempt: Attempt) -> Iterator[None]:
    """During the block, a call under the running operation's own id becomes its continuation."""
    token = _replacing.set(attempt)
    try:
        yield
    finally:
        _replacing.reset(token)


def replaced_by(call: Call) -> Attempt | None:
    """Return the attempt that the call replaces: the one whose body is in `replacing`, if the call has its id."""
    attempt = _replacing.get()
    return attempt if attempt is not None and call.operation.pk == attempt.operation.pk else None


def continue_in_row(attempt: Attempt, task: TaskOptions, call: Call) -> None:
    """Make the call the continuation of the replaced operation's row. Raises `ObjectLocked` or `ObjectGone` if the
    replacement cannot have its object."""
    asked = call.operation
    ledger.lock_row(asked)
    conflicts.look(asked)
    attempt.replacement = {
        **{name: asked.__dict__[name] for name in (*_TAKEN_OVER, *ledger.SUBJECT_COLUMNS)},
        **{"task": task.name, "attempt": 0, "revision": attempt.operation.revision + 1},
        **{"error": "", "result_payload": "", "progress": None},
    }


def wait_for(attempt: Attempt, call: Call, answer: AbstractOperation) -> None:
    """Make the replaced operation's row a waiter of the replacement's."""
    attempt.replacement = {
        **{"payload": call.payload, "options": call.operation.options, "delivered": call.operation.delivered},
        **{"task": answer.task, "attempt": 0, "revision": attempt.operation.revision + 1, "waits_for": answer.pk},
        **{"replaced": True, "max_attempts": None, "available_at": Now(), "due_at": After(conf().REPUBLISH_AFTER)},
    }


def has_run(attempt: Attempt) -> None:
    """In eager mode the replacement has run, and called back whoever waits: nobody is to do that again."""
    request = attempt.task.request
    if request.callbacks:
        request.callbacks = None
        schedule.nobody_waits(attempt.operation.pk)


def under_new_id(call: Call) -> Call:
    """Return the call under an id of its own, without the callbacks that wait for the replaced one."""
    alone = waiter.without_canvas(call)
    alone.operation.pk = ids.new()
    alone.options.pop("task_id", None)
    return alone
