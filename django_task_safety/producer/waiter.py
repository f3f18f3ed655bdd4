"""Waiters: duplicates whose caller, callback or canvas waits for the outcome of another call's operation.

A waiter has a row of its own, so that it is as hard to lose as the work: it is published, claimed and swept like an
operation, but instead of running anything it repeats the outcome of the one it waits for, or comes back later.
"""

import copy
import dataclasses
import uuid

from celery.exceptions import Ignore

from django_task_safety import ledger
from django_task_safety.conf import conf
from django_task_safety.ledger import schedule, table, worker_id
from django_task_safety.options import TaskOptions
from django_task_safety.producer import call_options, outbox
from django_task_safety.producer.call import Call
from django_task_safety.producer.call_options import AWAITED, CANVAS, GROUP
from django_task_safety.producer.outcome import StoredOutcome, in_delivery, stored_outcome
from django_task_safety.record import AbstractOperation, State, new_operation
from django_task_safety.values.clock import After, Now

#: Seconds before a waiter looks again the first time; doubled with each look, up to the second number.
LOOK, LOOK_MAX = 0.5, 10.0
#: While the awaited operation is not due yet, a waiter waits for that; but it looks as often as this, in seconds,
#: for the operation may be cancelled or brought forward.
LOOK_AHEAD = 600.0


def without_canvas(call: Call) -> Call:
    """Return the call without what waits for it: the work alone."""
    row = copy.copy(call.operation)
    row.delivered = True
    options = {name: value for name, value in call.options.items() if name not in (*CANVAS, *GROUP)}
    row.options = call_options.dump(options)
    return dataclasses.replace(call, operation=row, options=options)


def keep_waiters(older: AbstractOperation, asked: AbstractOperation) -> AbstractOperation:
    """Return the row that a newer call asks for, with those who wait for the older call in the same row.

    Unless the attempt that ended it is telling them, they have heard nothing; so they are to hear of what comes of
    the newer one.
    """
    before = {} if older.delivered else call_options.read(older)
    if not call_options.has_canvas(before) or (not older.is_pending and in_delivery(older, table.now())):
        return asked
    options = call_options.read(asked)
    options.update({name: value for name, value in before.items() if name in AWAITED})
    together = copy.copy(asked)
    together.options, together.delivered = call_options.dump(options), False
    return together


def add_waiter(call: Call, awaited: AbstractOperation) -> Call:
    """Write a waiter in the place of the duplicate call, and return the call as the waiter's."""
    waiter_row = _of(call, awaited)
    ledger.enqueue([waiter_row.operation])
    return waiter_row


def in_place_of_replaced(call: Call, answer: AbstractOperation) -> Call:
    """Return a call by which a replaced operation's row becomes a waiter of the one that answers for the call."""
    waiter_row = _of(call, answer)
    waiter_row.operation.replaced = True
    return waiter_row


def wait_for(task: TaskOptions, call: Call, awaited: AbstractOperation) -> StoredOutcome | None:
    """Write a waiter for a duplicate call that a worker holds, and answer for it as `answer` does.

    The awaited row is taken as it was just read: whatever becomes of it meanwhile, that was its outcome. None where the
    waiter is there already.
    """
    waiter_row = _of(call, awaited)
    row = waiter_row.operation
    if not awaited.is_pending:
        row.__dict__.update(ledger.started(worker_id.me(), *worker_id.limits(task)))
        return _outcome(task, row, awaited) if ledger.enqueue([row]) else None
    row.available_at, row.due_at = After(LOOK), After(schedule.first_look(LOOK))
    if not ledger.enqueue([row]):
        return None
    delayed = dataclasses.replace(waiter_row, options={**waiter_row.options, "countdown": LOOK})
    outbox.publish_calls(task, [(delayed, row)])
    raise Ignore(f"It waits for a pending operation and comes back in {LOOK:g} s.")


def _of(call: Call, awaited: AbstractOperation) -> Call:
    """Return the duplicate call as its waiter's, not yet written."""
    row = copy.copy(call.operation)
    row.key, row.key_digest, row.match_digest, row.waits_for = "", None, "", awaited.pk
    row.version, row.max_attempts, row.expires_at = None, None, None
    # It runs nothing, so it neither needs the object nor takes the lock, which the awaited one may hold.
    row.lock, row.lock_slot, row.subject_row = "", None, None
    row.available_at, row.due_at, row.created_at = Now(), After(conf().REPUBLISH_AFTER), Now()
    options = {name: value for name, value in call.options.items() if name not in ("eta", "expires")}
    return dataclasses.replace(call, operation=row, options=options)


def answer(task: TaskOptions, waiter_row: AbstractOperation) -> StoredOutcome:
    """Repeat the outcome of the operation that a claimed waiter waits for. Raises `Ignore` when that is still pending,
    and the waiter comes back; or was cancelled."""
    assert waiter_row.waits_for is not None
    seen = table.read(waiter_row.waits_for)
    if seen is not None and seen.operation.is_pending:
        _redeliver_later(waiter_row, seen)
    awaited = seen.operation if seen else _gone(waiter_row.waits_for)
    return _outcome(task, waiter_row, awaited)


def _redeliver_later(waiter_row: AbstractOperation, seen: table.Seen) -> None:
    delay = min(LOOK_MAX, LOOK * 2 ** min(waiter_row.attempt - 1, 10))
    if seen.operation.state == State.QUEUED:
        wait = (seen.operation.available_at - seen.now).total_seconds()
        delay = max(delay, min(wait, LOOK_AHEAD))
    if ledger.requeue(waiter_row, delay, name="requeued") and delay <= conf().MAX_BROKER_DELAY:
        outbox.publish_rows(table.by_id(waiter_row.pk))
    raise Ignore(f"It waits for a pending operation and comes back in {delay:g} s.")


def _outcome(task: TaskOptions, waiter_row: AbstractOperation, awaited: AbstractOperation) -> StoredOutcome:
    if _repeat(waiter_row, awaited):
        return stored_outcome(task, waiter_row)
    raise Ignore("Another copy of this message answered.")


def _repeat(waiter_row: AbstractOperation, awaited: AbstractOperation) -> bool:
    if awaited.state == State.SUCCEEDED:
        return ledger.settle(waiter_row, awaited.result_payload)
    failure = ledger.Failure(awaited.error, awaited.traceback, awaited.exception)
    return ledger.finish(waiter_row, State(awaited.state), failure)


def _gone(pk: uuid.UUID) -> AbstractOperation:
    return new_operation(id=pk, state=State.CANCELLED, error="The operation that this duplicate waited for is gone.")
