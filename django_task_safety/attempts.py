"""One attempt: the body and the settling of its operation in one transaction, or the recording of why not."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

from celery.exceptions import Ignore, Reject, Retry
from django.db import Error as DatabaseError
from django.db import transaction

from django_task_safety import announce, codec, ledger, outbox, owners, references, replay, retries, table
from django_task_safety.conf import conf
from django_task_safety.context import Attempt, RetryRequest, running
from django_task_safety.errors import ObjectGone, OperationCancelled, OperationSuperseded
from django_task_safety.failures import Fenced, fail, foreign_retry, hand_back
from django_task_safety.heartbeat import heartbeat
from django_task_safety.models import Operation

if TYPE_CHECKING:
    from django_task_safety.tasks import SafeTask

logger = logging.getLogger("django_task_safety")
State = Operation.State


def run(task: SafeTask, operation: Operation, arguments: tuple[Any, Any] | None) -> Any:
    """Run the claimed operation's body and settle it.

    Args:
        task: The task.
        operation: The operation; its token is this attempt's.
        arguments: The message's args and kwargs, or None to take the row's, which are newer.
    """
    attempt = Attempt(task, operation, operation.token)
    task.request.retries = operation.attempt - 1
    with running(attempt), heartbeat.holding(operation, renewed=owners.in_worker()):
        try:
            return _body_and_settle(attempt, arguments)
        except Fenced:
            return _adopt(attempt)
        except Ignore:
            if attempt.replaced and attempt.replacement is not None:
                outbox.publish_rows(table.rows().filter(pk=operation.pk))
            raise
        except Retry as exc:
            return _retry(attempt, attempt.retry or foreign_retry(attempt, exc))
        except ObjectGone as exc:
            return _cancelled(attempt, str(exc))
        except OperationSuperseded:
            return _adopt(attempt)
        except OperationCancelled as exc:
            return _cancelled(attempt, str(exc))
        except Exception as exc:
            return _failed(attempt, exc)
        except BaseException as exc:
            _interrupted(attempt, exc)
            raise


def _body_and_settle(attempt: Attempt, arguments: tuple[Any, Any] | None) -> Any:
    task, operation = attempt.task, attempt.operation
    if arguments is None:
        arguments = codec.loads(operation.payload, task.app)
    attempt.own_transaction = task.atomic and not table.connection().in_atomic_block
    with transaction.atomic(using=conf().DATABASE) if task.atomic else contextlib.nullcontext():
        args, kwargs = references.load(arguments)
        try:
            value = task.run(*args, **kwargs)
        except Reject:
            raise
        except Retry:
            raise
        except Ignore as exc:
            # Ignore and replace() keep what the body wrote.
            if attempt.replaced and task.request.is_eager:
                _settle(attempt, attempt.eager_value)
                return attempt.eager_value
            _settle_ignored(attempt, exc)
            leave: Ignore | Retry = exc
        else:
            if attempt.retry is None:
                _settle(attempt, value)
                return value
            hand_back(attempt, attempt.retry)
            leave = attempt.retry.signal
    raise leave


def _settle(attempt: Attempt, value: Any) -> None:
    task, operation = attempt.task, attempt.operation
    due = conf().REPUBLISH_AFTER if replay.has_canvas(task.request) else replay.retention(operation)
    if ledger.settle(operation, encode_result(task, value), due):
        return
    # Somebody asked for newer work meanwhile: this run counts, and the row goes round once more.
    fresh = {"attempt": 0, "result_payload": "", "error": "", "started_at": None, "progress": None}
    if operation.version is not None:
        fresh["succeeded_version"] = operation.version
    if not ledger.hand_back(operation, 0.0, fresh, name="enqueued"):
        raise Fenced
    transaction.on_commit(
        lambda: outbox.publish_rows(table.rows().filter(pk=operation.pk)), using=conf().DATABASE, robust=True
    )


def encode_result(task: SafeTask, value: Any) -> str:
    """Return the result as text; what cannot be stored is dropped where the task ignores its result.

    Raises:
        InvalidPayload: If the result cannot be serialised.
    """
    if task.ignore_result and not isinstance(value, str | int | float | bool | None | list | dict | tuple):
        return "null"
    return codec.dumps(value, task.app.conf.result_serializer)


def _settle_ignored(attempt: Attempt, exc: Ignore) -> None:
    operation = attempt.operation
    if not attempt.replaced:
        if not ledger.end(operation, State.CANCELLED, ledger.Failure(codec.printable(f"Ignored: {exc}"))):
            raise Fenced
        announce.transition("cancelled", operation, str(exc))
    elif attempt.replacement is not None:
        if not ledger.hand_back(operation, 0.0, attempt.replacement, name="enqueued"):
            raise Fenced
    elif ledger.end(operation, State.SUCCEEDED, replaced=True, result_payload="null", progress=1.0, delivered=True):
        announce.transition("succeeded", operation, "replaced")
    else:
        raise Fenced


def _retry(attempt: Attempt, request: RetryRequest) -> Any:
    operation = attempt.operation
    if retries.exhausted(operation):
        return _failed(attempt, request.exc or request.signal)
    try:
        hand_back(attempt, request)
    except Fenced:
        return _adopt(attempt)
    raise request.signal


def _failed(attempt: Attempt, exc: BaseException) -> Any:
    """Record a failed attempt: queue the next one, or fail the operation."""
    operation, task = attempt.operation, attempt.task
    delay = retries.delay_after(task, operation, exc)
    try:
        if delay is None:
            failed = fail(task, operation, exc)
        else:
            when: Any = delay
            signal = Retry(exc=exc if isinstance(exc, Exception) else None, when=when, is_eager=task.request.is_eager)
            hand_back(attempt, RetryRequest(signal, delay, exc))
            raise signal from exc
    except Fenced:
        return _adopt(attempt)
    except DatabaseError:
        logger.exception("operation %s: its failure could not be recorded; its lease will run out", operation.pk)
        raise Ignore("The database does not answer; the operation is taken back when its lease runs out.") from exc
    if not failed:
        return _adopt(attempt)
    raise exc


def _cancelled(attempt: Attempt, reason: str) -> Any:
    """End the operation as cancelled from inside; where it was cancelled from outside, answer with that."""
    operation = attempt.operation
    if ledger.end(operation, State.CANCELLED, ledger.Failure(codec.printable(reason))):
        announce.transition("cancelled", operation, reason)
        return replay.outcome(attempt.task, operation)
    return _adopt(attempt)


def _interrupted(attempt: Attempt, exc: BaseException) -> None:
    """The process is told to go in the middle of the body: leave the work to another one. The attempt counts."""
    operation = attempt.operation
    with contextlib.suppress(DatabaseError):
        if retries.exhausted(operation):
            fail(attempt.task, operation, exc)
        else:
            ledger.hand_back(operation, 0.0, {"error": repr(exc)}, name="requeued", reason=repr(exc))


def _adopt(attempt: Attempt) -> Any:
    """This attempt lost the operation, or lost sight of its own commit: answer with what the row says."""
    # A cancel inside the body's own transaction was rolled back with it.
    attempt.operation.token = attempt.token
    own = "cancelled in its own transaction"
    if ledger.end(attempt.operation, State.CANCELLED, ledger.Failure(own)):
        announce.transition("cancelled", attempt.operation, own)
    seen = table.read(attempt.operation.pk)
    if seen is None or seen.operation.is_pending:
        logger.warning("operation %s: another attempt took over; nothing was written", attempt.operation.pk)
        raise Ignore("Another attempt took over.")
    return replay.outcome(attempt.task, seen.operation).value


def expire(operation: Operation) -> None:
    """End a queued operation that has not started by its ``expires``."""
    from django_task_safety import cancellation

    cancellation.cancel(operation, "expired before it started")
