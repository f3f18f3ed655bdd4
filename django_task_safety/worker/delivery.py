"""From a message to its outcome: claim its operation and run it, or answer for it at once.

    deliver               what the worker does with a message
    _claim                one statement: the operation is this attempt's, or it is read as it is
    _answer_unclaimable   what ended is answered from its row; what runs or waits elsewhere frees the slot
    _claim_unregistered   a message without a row gets one, which runs already: one statement
    _resolve_existing     unless its id or key is taken: what any call would get (`deduplication`)
    _redeliver_later      the message comes back, and the worker's slot is free meanwhile

The attempt itself is in `attempt`.
"""

import dataclasses
import logging
import time
from functools import partial
from typing import Any

from celery.exceptions import Ignore, Reject
from django.db import Error as DatabaseError
from django.db import transaction

from django_task_safety import ledger
from django_task_safety.conf import conf
from django_task_safety.errors import DuplicateOperation, KeyReused, ObjectGone, ObjectLocked, TaskSafetyError
from django_task_safety.ledger import cancellation, table, worker_id
from django_task_safety.ledger.patience import patience
from django_task_safety.options import TaskOptions
from django_task_safety.producer import canvas, outbox, waiter
from django_task_safety.producer.call import Call, make_call, retention
from django_task_safety.producer.deduplication import Resolution, resolve
from django_task_safety.producer.enqueue import continue_in_row
from django_task_safety.producer.outcome import StoredOutcome, in_delivery, store_failure, stored_outcome
from django_task_safety.record import AbstractOperation, State, new_operation
from django_task_safety.values.clock import Now
from django_task_safety.worker import connection
from django_task_safety.worker.attempt import run_attempt
from django_task_safety.worker.compensation import fail
from django_task_safety.worker.message import Message

logger = logging.getLogger("django_task_safety")

#: Seconds before a message comes back while the database does not answer.
OUTAGE_PAUSE = 5.0
#: Seconds that a message without a row is held before it goes back to a broker that takes nothing.
REJECT_PAUSE = 1.0
#: Seconds before a message comes back whose row somebody holds in a transaction that goes on.
HELD_PAUSE = 5.0
#: Seconds before a message comes back whose row changed faster than it could be read.
CONTENTION_PAUSE = 0.5


def deliver(task: TaskOptions, args: Any, kwargs: Any) -> Any:
    """Run the operation that the message asks for, or answer for it.

    Returns:
        The task's return value: of this run, or of the one that was.

    Raises:
        Ignore: When there is nothing to do here: another attempt runs it, it was cancelled, or it comes back later.
        Retry: When the attempt failed and another follows.
        Exception: The task's own, when it failed for good.
    """
    message = Message.of(task.request, args, kwargs)
    try:
        claimed = connection.retry_if_dead(partial(_claim, task, message))
    except TaskSafetyError:
        raise  # also those that are database errors to Django
    except DatabaseError as exc:
        held = table.is_lock_timeout(exc)
        why = "somebody's transaction holds what it needs" if held else "the database does not answer"
        logger.log(logging.INFO if held else logging.WARNING, "message %s waits: %s: %s", message.id, why, exc)
        connection.abandon()
        raise _redeliver_later(task, message, HELD_PAUSE if held else OUTAGE_PAUSE) from exc
    if isinstance(claimed, StoredOutcome):
        return claimed.get()
    if message.operation_id is not None and not message.genuine:
        logger.warning("message %s is not as it was published: it runs with the arguments of its row", message.id)
    # Invariant: an operation runs with its own arguments.
    return run_attempt(task, claimed, (args, kwargs) if message.carries_arguments_of(claimed) else None)


def _claim(task: TaskOptions, message: Message) -> AbstractOperation | StoredOutcome:
    if message.operation_id is None:
        return _claim_unregistered(task, message)
    limits = worker_id.limits(task)
    known: dict[str, Any] = {"hint": partial(message.hint, task), "task": task.name, "durable": _durable(task)}
    for _ in range(3):
        seen = ledger.claim(message.operation_id, worker_id.me(), *limits, **known)
        if seen is None:
            logger.warning("message %s: its operation is gone (pruned or deleted); dropped", message.id)
            raise Ignore("The operation is gone.")
        if seen.held:
            raise _redeliver_later(task, message, HELD_PAUSE)
        if seen.claimed:
            return seen.operation if seen.operation.waits_for is None else waiter.answer(task, seen.operation)
        answer = _answer_unclaimable(task, message, seen)
        if answer is not None:
            return answer
    raise _redeliver_later(task, message, CONTENTION_PAUSE)


def _durable(task: TaskOptions) -> bool:
    """Return whether the claim must not be lost: the body's effects are not all in the transaction that settles, or an
    earlier delivery of the message may have begun an attempt that was."""
    # Invariant: no effect without its claim.
    return not task.atomic or bool((task.request.delivery_info or {}).get("redelivered"))


def _answer_unclaimable(task: TaskOptions, message: Message, seen: table.Seen) -> StoredOutcome | None:
    """Answer for an operation that cannot be claimed; None to try once more."""
    operation = seen.operation
    if operation.task != task.name:
        raise Ignore(f"The operation was replaced by {operation.task}.")
    if operation.state == State.RUNNING:
        # Invariant: a duplicate frees its slot.
        raise Ignore("Another attempt runs it and answers for it.")
    if operation.state == State.QUEUED:
        _wait_or_expire(task, message, seen)
        return None
    return _answer_ended(task, message, seen)


def _wait_or_expire(task: TaskOptions, message: Message, seen: table.Seen) -> None:
    operation = seen.operation
    wait = (operation.available_at - seen.now).total_seconds()
    if wait > conf().MAX_BROKER_DELAY:
        raise Ignore("It waits in the database.")
    if wait > 0:
        raise _redeliver_later(task, message, wait)
    if operation.has_expired(seen.now):
        with transaction.atomic(using=conf().DATABASE):
            held = not table.locked(table.by_id(operation.pk))
            if not held:
                cancellation.expire(operation)
        if held:
            raise _redeliver_later(task, message, HELD_PAUSE)


def _answer_ended(task: TaskOptions, message: Message, seen: table.Seen) -> StoredOutcome:
    operation, awaited = seen.operation, canvas.has_canvas(task.request)
    if operation.replaced and operation.waits_for is None:
        raise Ignore("Its replacement answers for it.")
    if awaited and (wait := in_delivery(operation, seen.now)):
        raise _redeliver_later(task, message, wait)
    if operation.state == State.FAILED and (operation.delivered or not awaited):
        store_failure(task, operation)
    elif not operation.delivered or not awaited:
        return stored_outcome(task, operation)
    raise Ignore("It has ended, and its outcome was delivered.")


def _claim_unregistered(task: TaskOptions, message: Message) -> AbstractOperation | StoredOutcome:
    """A message without a row gets one, already running: one statement.

    It is durable, unlike a claim: when the server dies, the message is given up for the row, which must be there.
    """
    try:
        call = make_call(task, message.args, message.kwargs, message.calling_options(task.request))
    except TaskSafetyError as exc:
        _record_refusal(task, message, exc)
        raise
    call.operation.queue = str((task.request.delivery_info or {}).get("routing_key") or "")[:255]
    return _claim_call(task, message, call)


def _claim_call(task: TaskOptions, message: Message, call: Call) -> AbstractOperation | StoredOutcome:
    asked = call.operation
    running = ledger.started(worker_id.me(), *worker_id.limits(task))
    queued = {name: asked.__dict__[name] for name in running}
    asked.__dict__.update(running)
    if ledger.enqueue([asked]):
        return asked
    asked.__dict__.update(queued)
    return _resolve_existing(task, message, call)


def _resolve_existing(task: TaskOptions, message: Message, call: Call) -> AbstractOperation | StoredOutcome:
    """The row is there already: from an earlier copy of this message, or from another call with the same key."""
    try:
        alone = waiter.without_canvas(call).operation
        with patience():
            resolution, first = resolve(task, alone, new=call.operation, sent=True)
    except DuplicateOperation as duplicate:
        resolution, first = Resolution.DUPLICATE, duplicate.operation
    except (KeyReused, ObjectLocked) as exc:
        _record_refusal(task, message, exc)
        raise
    except ObjectGone:
        # Written all the same, so that it ends as one whose object goes later does: when the object is to be loaded.
        call.operation.subject_row = None
        return _claim_call(task, message, call)
    if resolution is Resolution.CONTINUED:
        with patience():
            continue_in_row(task, call, first)
    if first.pk != message.id:
        try:
            with patience():
                answer = waiter.wait_for(task, call, first)
        finally:
            if resolution in (Resolution.RERUN, Resolution.RENEWED):
                outbox.publish_rows(table.by_id(first.pk))
        if answer is not None:
            return answer
    return _claim(task, dataclasses.replace(message, operation_id=message.id))


def _record_refusal(task: TaskOptions, message: Message, exc: TaskSafetyError) -> None:
    """A call that cannot be made still leaves a failed row, so that somebody sees it."""
    started = ledger.started(worker_id.me(), conf().LEASE, None)
    kept = retention(task)
    refused = new_operation(id=message.id, task=task.name, max_attempts=1, retention=kept, created_at=Now(), **started)
    if ledger.enqueue([refused]):
        fail(task, refused, exc)


def _redeliver_later(task: TaskOptions, message: Message, delay: float) -> Ignore | Reject:
    """Publish the message once more, to come back after ``delay`` seconds; the worker slot is free at once."""
    if task.request.is_eager:
        return Ignore("It is pending elsewhere.")
    if outbox.publish_again(task, task.request, message.header, delay):
        return Ignore(f"It comes back in {delay:g} s.")
    if "op" in message.header:
        return Ignore("The broker did not take it; its row brings it back.")
    # Not a synchronisation: what the broker delivers again at once must not spin.
    time.sleep(REJECT_PAUSE)
    return Reject("The broker did not take it; back to the queue.", requeue=True)
