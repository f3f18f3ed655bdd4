"""Whether a failed attempt is followed by another, and when."""

import contextlib
import logging
from datetime import datetime, timedelta
from typing import Any

from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded, TimeLimitExceeded
from django.db import DatabaseError, InterfaceError, OperationalError
from kombu.exceptions import OperationalError as BrokerError

from django_task_safety import options as task_options
from django_task_safety.conf import LONGEST, seconds
from django_task_safety.context import Attempt, RetryRequest
from django_task_safety.errors import InvalidOption, ObjectGone, OperationCancelled
from django_task_safety.ledger.columns import NEWER
from django_task_safety.options import TaskOptions
from django_task_safety.producer import call_options
from django_task_safety.producer.call import make_call
from django_task_safety.producer.signature import merged
from django_task_safety.record import AbstractOperation
from django_task_safety.values import backoff, codec
from django_task_safety.values.log_fields import log_about

#: Errors that tend to pass by themselves.
TRANSIENT = (ConnectionError, TimeoutError, OperationalError, InterfaceError, BrokerError)
#: The same of HTTP libraries, by class name, since they need not be installed.
TRANSIENT_NAMES = frozenset(
    {"ConnectionError", "ConnectTimeout", "ReadTimeout", "Timeout", "TimeoutException", "NetworkError"}
    | {"ClientConnectionError", "ServerTimeoutError", "EndpointConnectionError", "ConnectTimeoutError"}
    | {"ReadTimeoutError", "RemoteProtocolError"}
)
#: HTTP status codes that say "later".
TRANSIENT_STATUS = frozenset({429, 502, 503, 504})
#: Never retried, whatever the options say.
NEVER = (Reject, Ignore, SoftTimeLimitExceeded, TimeLimitExceeded, OperationCancelled, ObjectGone)


def transient(exc: BaseException) -> bool:
    """Return whether an exception tends to pass: connections, timeouts, the database, a server that says "later"."""
    if isinstance(exc, TRANSIENT) or _status(exc) in TRANSIENT_STATUS:
        return True
    return any(base.__name__ in TRANSIENT_NAMES for base in type(exc).__mro__)


def _status(exc: BaseException) -> Any:
    with contextlib.suppress(Exception):  # a foreign object's properties may do anything
        for holder, name in ((getattr(exc, "response", None), "status_code"), (exc, "status_code"), (exc, "code")):
            status = getattr(holder, name, None)
            if isinstance(status, int):
                return status
    return None


def delay_after(task: TaskOptions, operation: AbstractOperation, exc: BaseException) -> float | None:
    """Return the seconds until the next attempt, or None when ``exc`` ends the operation."""
    if isinstance(exc, NEVER) or exhausted(operation):
        return None
    if task.dont_autoretry_for and isinstance(exc, task_options.classes(task.dont_autoretry_for)):
        return None
    try:
        decision = _decide(task, exc)
    except Exception:
        text = "retry_on of %s failed; it is not retried"
        log_about(operation, logging.ERROR, text, task.name, exc_info=True)
        return None
    if decision is False:
        return None
    if decision is True:
        return delay_with_retry_after(task, operation, exc)
    return decision


def _decide(task: TaskOptions, exc: BaseException) -> bool | float:
    """True: retry with the usual backoff; a number: after as many seconds; False: do not."""
    if task.autoretry_for and isinstance(exc, task_options.classes(task.autoretry_for)):
        return True
    rule: Any = task.retry_on
    if rule is None:
        return transient(exc)
    if isinstance(rule, type) and issubclass(rule, BaseException):
        return isinstance(exc, rule)
    if not callable(rule):
        return isinstance(exc, tuple(rule))
    answer = rule(exc)
    if isinstance(answer, bool) or answer is None:
        return bool(answer)
    if isinstance(answer, timedelta):
        answer = answer.total_seconds()
    return max(backoff.SHORTEST, seconds(answer)) if answer else backoff.SHORTEST


def delay_with_retry_after(task: TaskOptions, operation: AbstractOperation, exc: BaseException | None = None) -> float:
    """Return the task's exponential backoff, or what the server asked for where that is longer."""
    delay = backoff_delay(task, operation.attempt - 1)
    asked = backoff.retry_after(exc) if exc is not None else None
    return delay if asked is None else max(delay, asked)


def backoff_delay(task: TaskOptions, retries: int) -> float:
    """Return the backoff of the task before retry number ``retries``, from 0."""
    base = float(task.retry_backoff) or float(task.default_retry_delay or 0) or 1.0
    if not task.retry_backoff:
        # Celery's meaning of a falsy retry_backoff: a fixed interval.
        return max(backoff.SHORTEST, base)
    return backoff.exponential(
        retries, base=base, maximum=seconds(task.retry_backoff_max), jitter=bool(task.retry_jitter)
    )


def exhausted(operation: AbstractOperation) -> bool:
    """Return whether the attempt that runs is the last one."""
    return operation.max_attempts is not None and operation.attempt >= operation.max_attempts


def check_left(
    attempt: Attempt, max_retries: int | None, exc: BaseException | None, args: Any = None, kwargs: Any = None
) -> None:
    """Look whether ``self.retry(…)`` comes too late; if so, this attempt is the last one.

    Raises:
        MaxRetriesExceededError: Or ``exc``, when the attempts are spent.
        InvalidOption: If ``max_retries`` is no number of retries.
    """
    operation = attempt.operation
    if max_retries is not None and not task_options.is_count(max_retries):
        raise InvalidOption(f"{attempt.task.name}: retry(max_retries={max_retries!r}) takes a whole number from 0.")
    limit = operation.max_attempts if max_retries is None else max_retries + 1
    if limit is None or operation.attempt < limit:
        return
    operation.max_attempts = operation.attempt
    raise exc if exc is not None else spent(attempt, args, kwargs)


def spent(attempt: Attempt, args: Any = None, kwargs: Any = None) -> Exception:
    """Return the error of an operation that asks for another attempt after its last one, with the arguments of that, as
    Celery's; they stay out of its text."""
    task, (same_args, same_kwargs) = attempt.task, attempt.arguments
    celerys: Any = task.MaxRetriesExceededError
    error: Exception = celerys(
        f"Can't retry {task.name}[{task.request.id}]: its attempts are spent.",
        task_args=same_args if args is None else tuple(args),
        task_kwargs=same_kwargs if kwargs is None else kwargs,
    )
    return error


def request_retry(attempt: Attempt, exc: Exception | None, eta: Any, countdown: Any, **changes: Any) -> Retry:
    """Note what ``self.retry()`` asks for, and return the signal that ends the attempt.

    Args:
        eta: A moment, or None.
        countdown: Seconds from now, a timedelta, or None; without either the task's backoff.
        changes: ``args``, ``kwargs`` and ``options`` of the next attempt, and a new bound for this operation,
            ``max_retries``.

    Raises:
        TaskSafetyError: One of its kinds for whatever is wrong with what is asked. Nothing was noted.
    """
    task, operation = attempt.task, attempt.operation
    when = eta if eta is not None else countdown
    if when is not None:
        delay = _until(eta) if eta is not None else _seconds(countdown)
    else:
        fixed = task.default_retry_delay
        delay = float(fixed) if fixed is not None else delay_with_retry_after(task, operation, exc)
    shown: Any = delay if when is None else when
    # What exits is for the row alone: before Celery 5.7 result backends cannot write it.
    told = exc if isinstance(exc, Exception) else None
    signal = Retry(exc=told, when=shown, is_eager=task.request.is_eager)
    request = RetryRequest(signal, delay, exc, **changes)
    # Where the body's transaction is broken, the row is read when that is rolled back.
    with contextlib.suppress(DatabaseError):
        changed(task, operation, request)
    attempt.retry = request
    return signal


def foreign_retry(attempt: Attempt, exc: Retry) -> RetryRequest:
    """A Retry that was raised by hand: Celery would forget the task here; it is queued again."""
    cause = exc.exc if isinstance(exc.exc, BaseException) else None
    return RetryRequest(exc, wait_of(attempt, exc), cause)


def wait_of(attempt: Attempt, exc: Retry) -> float:
    """Return the seconds until the attempt that a `Retry` asks for: what it says, or else the task's backoff."""
    when: Any = exc.when
    try:
        if when is not None:
            return _until(when) if isinstance(when, datetime) else _seconds(when)
    except InvalidOption as problem:
        log_about(attempt.operation, logging.WARNING, "a Retry that says no time waits as usual: %s", problem)
    return delay_with_retry_after(attempt.task, attempt.operation, exc.exc)


def _until(eta: Any) -> float:
    moment = call_options.moment("eta", eta)
    return max(0.0, call_options.until(moment)) if moment is not None else 0.0


def _seconds(countdown: Any) -> float:
    """Return a countdown in seconds; one that is over is none."""
    number = countdown.total_seconds() if isinstance(countdown, timedelta) else countdown
    if isinstance(number, bool) or not isinstance(number, int | float) or not number <= LONGEST:
        raise InvalidOption(
            f"retry(countdown={countdown!r}): it takes a number of seconds, or a timedelta, up to a hundred years."
        )
    return max(0.0, float(number))


def changed(task: TaskOptions, operation: AbstractOperation, request: RetryRequest) -> dict[str, Any]:
    """Return the columns of what the next attempt is to do otherwise; none where it repeats this one. Raises
    `TaskSafetyError` as a call with those arguments and options would."""
    if request.args is None and request.kwargs is None and not request.options:
        return {}
    args, kwargs = codec.loads(operation.payload, task.app)
    args, kwargs = merged(task, (args, kwargs), request.args, request.kwargs)
    asked = make_call(task, args, kwargs, {**call_options.read(operation), **request.options}).operation
    # One that holds a lock stays tied to what it locks.
    about = () if operation.lock_slot is not None else NEWER
    columns = {name: asked.__dict__[name] for name in ("payload", "options", "delivered", *about)}
    return {**columns, "revision": operation.revision + 1}
