"""What a worker does with a message: claim its operation and run it, or step aside at once."""

from __future__ import annotations

import dataclasses
import logging
import time
import uuid
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from celery.exceptions import Ignore, Reject
from django.db import Error as DatabaseError

from django_task_safety import ledger
from django_task_safety.conf import conf
from django_task_safety.errors import DuplicateOperation, KeyReused, ObjectGone, ObjectLocked, TaskSafetyError
from django_task_safety.ids import message_id
from django_task_safety.ids import uuid_of as _uuid
from django_task_safety.ledger import cancellation, table, worker_id
from django_task_safety.options import is_count
from django_task_safety.producer import call as calls
from django_task_safety.producer import enqueue as enqueueing
from django_task_safety.producer import outbox, waiter
from django_task_safety.producer import outcome as outcomes
from django_task_safety.producer.call import Call
from django_task_safety.producer.deduplication import Resolution
from django_task_safety.record import AbstractOperation, State, new_operation, operation_model, read_operation
from django_task_safety.values.clock import Now
from django_task_safety.worker import attempt as attempts
from django_task_safety.worker import failure as failures
from django_task_safety.worker import kept_connection

if TYPE_CHECKING:
    from django_task_safety.options import TaskOptions

logger = logging.getLogger("django_task_safety")

#: Seconds before a message comes back while the database does not answer.
OUTAGE_PAUSE = 5.0
#: Seconds that a message without a row is held before it goes back to a broker that takes nothing.
REJECT_PAUSE = 1.0
#: Seconds before a message comes back whose row changed faster than it could be read.
CONTENTION_PAUSE = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """What a delivery says of itself."""

    id: uuid.UUID
    args: Any
    kwargs: Any
    #: The operation that our own publishing named; None for a message of beat, ``send_task`` or another language.
    operation_id: uuid.UUID | None
    header: dict[str, Any]

    @classmethod
    def of(cls, request: Any, args: Any, kwargs: Any) -> Message:
        """Read the message from Celery's request."""
        said = getattr(request, outbox.HEADER, None) or (request.headers or {}).get(outbox.HEADER)
        header = dict(said) if isinstance(said, Mapping) else {}
        return cls(message_id(request.id), args, kwargs, _uuid(header.get("op")), header)

    def hint(self, task: TaskOptions) -> AbstractOperation | None:
        """Return the row as it was when the message was published, the rest deferred; None if it does not say."""
        counts = [self.header.get(name, 0) for name in ("att", "rev", "gen")]
        if self.operation_id is None or "att" not in self.header or not all(map(is_count, counts)):
            return None
        known = {
            **{"id": self.operation_id, "task": task.name, "state": State.QUEUED, "key": self.header.get("key", "")},
            **{"attempt": self.header.get("att", 0), "revision": self.header.get("rev", 0)},
            **{"waits_for": _uuid(self.header.get("waits_for")), "generation": self.header.get("gen", 0)},
            **{"version": self.header.get("ver"), "max_attempts": self.header.get("max")},
        }
        names = [name for name in operation_model().column_names() if name in known]
        return read_operation(conf().DATABASE, names, [known[name] for name in names])


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
        outcome = kept_connection.using(partial(_claim, task, message))
    except TaskSafetyError:
        raise  # also those that are database errors to Django
    except DatabaseError as exc:
        logger.warning("message %s waits: the database does not answer: %s", message.id, exc)
        kept_connection.abandon()
        raise _redeliver_later(task, message.header, OUTAGE_PAUSE) from exc
    if isinstance(outcome, AbstractOperation):
        revised = outcome.revision != message.header.get("rev", 0)
        return attempts.run(task, outcome, None if revised else (args, kwargs))
    return outcome.get()


def _claim(task: TaskOptions, message: Message) -> AbstractOperation | outcomes.StoredOutcome:
    if message.operation_id is None:
        return _claim_unregistered(task, message)
    limits = worker_id.limits(task)
    for _ in range(3):
        seen = ledger.claim(
            message.operation_id, worker_id.me(), *limits, hint=partial(message.hint, task), task=task.name
        )
        if seen is None:
            logger.warning("message %s: its operation is gone (pruned or deleted); dropped", message.id)
            raise Ignore("The operation is gone.")
        if seen.claimed:
            return seen.operation if seen.operation.waits_for is None else waiter.answer(task, seen.operation)
        answer = _answer_unclaimable(task, message, seen)
        if answer is not None:
            return answer
    raise _redeliver_later(task, message.header, CONTENTION_PAUSE)


def _claim_unregistered(task: TaskOptions, message: Message) -> AbstractOperation | outcomes.StoredOutcome:
    """A message without a row gets one, already running: one statement."""
    try:
        call = calls.make(task, message.args, message.kwargs, _options(task, message))
    except TaskSafetyError as exc:
        _record_refusal(task, message, exc)
        raise
    return _claim_call(task, message, call)


def _claim_call(task: TaskOptions, message: Message, call: Call) -> AbstractOperation | outcomes.StoredOutcome:
    asked = call.operation
    running = ledger.started(worker_id.me(), *worker_id.limits(task))
    queued = {name: asked.__dict__[name] for name in running}
    asked.__dict__.update(running)
    if ledger.enqueue([asked]):
        return asked
    asked.__dict__.update(queued)
    return _resolve_existing(task, message, call)


def _resolve_existing(task: TaskOptions, message: Message, call: Call) -> AbstractOperation | outcomes.StoredOutcome:
    """The row is there already: from an earlier copy of this message, or from another call with the same key."""
    try:
        alone = waiter.without_canvas(call).operation
        resolution, first = enqueueing.resolve(task, alone, new=call.operation, sent=True)
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
        enqueueing.continue_in_row(task, call, first)
    if first.pk != message.id:
        try:
            answer = waiter.wait_for(task, call, first)
        finally:
            if resolution in (Resolution.RERUN, Resolution.RENEWED):
                outbox.publish_rows(table.rows().filter(pk=first.pk), forget=True)
        if answer is not None:
            return answer
    return _claim(task, dataclasses.replace(message, operation_id=message.id))


def _record_refusal(task: TaskOptions, message: Message, exc: TaskSafetyError) -> None:
    """A call that cannot be made still leaves a failed row, so that somebody sees it."""
    started = ledger.started(worker_id.me(), conf().LEASE, None)
    kept = calls.retention(task)
    refused = new_operation(id=message.id, task=task.name, max_attempts=1, retention=kept, created_at=Now(), **started)
    if ledger.enqueue([refused]):
        failures.fail(task, refused, exc)


def _options(task: TaskOptions, message: Message) -> dict[str, Any]:
    request = task.request
    canvas = {"link": request.callbacks, "link_error": request.errbacks, "chain": request.chain, "chord": request.chord}
    times = {"expires": request.expires}
    return {**canvas, **times, "task_id": message.id, **outcomes.routing(request)}


def _answer_unclaimable(task: TaskOptions, message: Message, seen: table.Seen) -> outcomes.StoredOutcome | None:
    """Answer for an operation that cannot be claimed; None to try once more."""
    operation = seen.operation
    if operation.task != task.name:
        raise Ignore(f"The operation was replaced by {operation.task}.")
    if operation.state == State.RUNNING:
        raise Ignore("Another attempt runs it and answers for it.")
    if operation.state == State.QUEUED:
        wait = (operation.available_at - seen.now).total_seconds()
        if wait > conf().MAX_BROKER_DELAY:
            raise Ignore("It waits in the database.")
        if wait > 0:
            raise _redeliver_later(task, message.header, wait)
        if operation.attempt == 0 and operation.expires_at is not None and operation.expires_at <= seen.now:
            cancellation.expire(operation)
        return None
    if operation.replaced and operation.waits_for is None:
        raise Ignore("Its replacement answers for it.")
    if outcomes.has_canvas(task.request) and (wait := outcomes.in_delivery(operation, seen.now)):
        raise _redeliver_later(task, message.header, wait)
    if operation.delivered and operation.state == State.FAILED:
        outcomes.store_failure(task, operation)
    elif not operation.delivered or not outcomes.has_canvas(task.request):
        return outcomes.outcome(task, operation)
    raise Ignore("It has ended, and its outcome was delivered.")


def _redeliver_later(task: TaskOptions, header: dict[str, Any], delay: float) -> Ignore | Reject:
    """Publish the message once more, to come back after ``delay`` seconds; the worker slot is free at once."""
    if task.request.is_eager:
        return Ignore("It is pending elsewhere.")
    if outbox.publish_again(task, task.request, header, delay):
        return Ignore(f"It comes back in {delay:g} s.")
    if "op" in header:
        return Ignore("The broker did not take it; its row brings it back.")
    # Not a synchronisation: what the broker delivers again at once must not spin.
    time.sleep(REJECT_PAUSE)
    return Reject("The broker did not take it; back to the queue.", requeue=True)
