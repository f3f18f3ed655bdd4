"""What Celery's result backend hears of operations besides what a task's own run tells it; only workers talk to it."""

import contextlib
import logging
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from celery.app.task import Context
from celery.exceptions import SoftTimeLimitExceeded

from django_task_safety.conf import conf
from django_task_safety.context import Attempt
from django_task_safety.errors import InvalidPayload
from django_task_safety.ledger.own_connections import own_connections
from django_task_safety.options import TaskOptions
from django_task_safety.producer import call_options, redaction
from django_task_safety.producer.outcome import as_celery
from django_task_safety.record import AbstractOperation
from django_task_safety.registry import task_of
from django_task_safety.values import codec
from django_task_safety.values.log_fields import log_about

_NOT_TOLD = "the result backend was not told: %s"

#: After so many failures a backend is left alone for the rest of a sweep; the first may be an operation's own fault.
_FAILURES = 2
#: The thread that notifies, or did last.
_thread: threading.Thread | None = None


def forget(task: TaskOptions, operation: AbstractOperation) -> None:
    """Forget the outcome of an earlier run, which must not be mistaken for that of the next one; never raises."""
    try:
        task.backend.forget(call_options.celery_id(operation.pk, call_options.read(operation)))
    except (NotImplementedError, FileNotFoundError):
        return  # this backend keeps nothing to forget, or (Celery's of files) nothing of this operation
    except SoftTimeLimitExceeded:
        raise  # the task's own
    except Exception as exc:
        log_about(operation, logging.WARNING, "its old result could not be forgotten: %s", codec.describe(exc))


def note_state(attempt: Attempt, state: str, meta: Any) -> bool:
    """Tell the result backend what a running attempt says of itself; never raises, and returns whether it was told.

    A backend in Django's own databases is not: there it would be a part of the body's transaction, which nobody sees
    before the commit, and which an error would break.
    """
    task, request = attempt.task, attempt.task.request
    backend: Any = task.backend
    if request.is_eager or vars(request).get("ignore_result", task.ignore_result) or hasattr(backend, "TaskModel"):
        return False
    try:
        backend.store_result(str(request.id), meta, state, request=request)
    except SoftTimeLimitExceeded:
        raise
    except Exception as exc:
        log_about(attempt.operation, logging.WARNING, _NOT_TOLD, codec.describe(exc))
        return False
    return True


class Notifier:
    """Tells result backends, in the course of one sweep, how operations ended that no attempt will tell them of."""

    def __init__(self) -> None:
        self._failures: Counter[type] = Counter()

    def notify(self, ended: Sequence[AbstractOperation]) -> list[AbstractOperation]:
        """Tell how the operations ended; never raises.

        A backend may hang for minutes. So a thread talks to it, for which this waits ``SWEEP_INTERVAL`` at most; and
        while it hangs, nobody else is told.

        Returns:
            Those of which nobody is left to be told.
        """
        global _thread
        if not ended or (_thread is not None and _thread.is_alive()):
            return []
        notified: list[AbstractOperation] = []
        late = threading.Event()
        work = (ended, notified, late)
        _thread = threading.Thread(target=self._notify_each, args=work, name="task-safety-results", daemon=True)
        _thread.start()
        _thread.join(conf().SWEEP_INTERVAL)
        late.set()
        return list(notified)

    @own_connections()  # there are backends in Django's databases
    def _notify_each(
        self, ended: Sequence[AbstractOperation], notified: list[AbstractOperation], late: threading.Event
    ) -> None:
        for operation in ended:
            if late.is_set():
                return
            if self._notify(operation):
                notified.append(operation)

    def _notify(self, operation: AbstractOperation) -> bool:
        task, backend = None, None
        try:
            task, options = task_of(operation), call_options.read(operation)
            if task is None or options.get("ignore_result", task.ignore_result):
                return True
            backend = task.backend
            if self._failures[type(backend)] >= _FAILURES:
                return False
            state, result = as_celery(task, operation)
            request = _request(task, operation, options)
            backend.store_result(str(request.id), result, state, request=request)
        except Exception as exc:
            self._failures[type(backend)] += 1
            log_about(operation, logging.WARNING, _NOT_TOLD, codec.describe(exc))
            return False
        return True


def _request(task: TaskOptions, operation: AbstractOperation, options: Mapping[str, Any]) -> Context:
    """Return what backends ask of a request: with RPC where to, with ``result_extended`` what it was about."""
    task_id = call_options.celery_id(operation.pk, options)
    said: dict[str, Any] = {"id": task_id, "task": operation.task, "hostname": operation.worker}
    with contextlib.suppress(InvalidPayload):
        args, kwargs = codec.loads(operation.payload, task.app)
        said.update(redaction.reprs(task, args, kwargs))
        said["args"], said["kwargs"] = redaction.readable(task, args, kwargs)
    said.update(
        {name: options[name] for name in ("argsrepr", "kwargsrepr", "reply_to", "parent_id") if name in options}
    )
    return Context(retries=max(0, operation.attempt - 1), **said)
