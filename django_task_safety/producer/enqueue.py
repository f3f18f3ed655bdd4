"""From a call to its row and its message.

    enqueue_call     what ``apply_async`` does: the handle by which the caller hears of the outcome
    enqueue          the row, in the caller's transaction: one statement; a duplicate is answered (`deduplication`)
    publish          its message, after that transaction has committed (`outbox`); the sweeper repeats what fails
    enqueue_many     the same in batches
    continue_in_row  the call goes on in the row of the operation that replaced itself by it

What goes into the row was bound, serialised, keyed and checked before (`call`).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any

from celery.result import AsyncResult
from django.db import transaction

from django_task_safety import ledger
from django_task_safety.conf import conf
from django_task_safety.context import Attempt
from django_task_safety.errors import DuplicateOperation, TaskSafetyError
from django_task_safety.ledger import table
from django_task_safety.ledger.insert import most_rows
from django_task_safety.objects import conflicts
from django_task_safety.options import TaskOptions
from django_task_safety.producer import call_options, outbox, replacement, row_backend, waiter
from django_task_safety.producer.call import Call
from django_task_safety.producer.deduplication import Enqueued, Resolution, answer_duplicate, messages_of
from django_task_safety.record import AbstractOperation


def enqueue_call(task: TaskOptions, call: Call) -> AsyncResult[Any]:
    """Enqueue a call of ``apply_async`` and return the handle by which its caller hears of the outcome."""
    attempt = replacement.replaced_by(call)
    if attempt is not None:
        return task.AsyncResult(call_options.celery_id(_enqueue_replacement(task, call, attempt), call.options))
    answer = enqueue(task, call)
    row = answer.operation
    own = answer.result_id == call.operation.pk
    celery_id = call_options.celery_id(answer.result_id, call.options if own else call_options.read(row))
    # Its result backend may hold the outcome of an earlier run, or may have forgotten the one that is repeated.
    if answer.result_id == row.pk and (row.revision > 0 or not row.is_pending):
        return row_backend.handle(task, celery_id)
    return task.AsyncResult(celery_id)


def enqueue(task: TaskOptions, call: Call, *, publishing: bool = True) -> Enqueued:
    """Write the call's row, or find the one that answers for it: one statement, at most two for a duplicate.

    Raises:
        DuplicateOperation, KeyReused: As the task's options say.
        InvalidOption: If the caller's ``task_id`` belongs to another operation.
        ObjectLocked: If another operation holds the lock that this one needs.
        ObjectGone: If its object does not exist any more, or is removed.
    """
    refuse_manual_commit()
    row = call.operation
    if ledger.enqueue([row]):
        answer = Enqueued(row, Resolution.CREATED, row.pk, ((call, row),))
    else:
        answer = answer_duplicate(task, call)
    if answer.resolution is Resolution.CONTINUED:
        return continue_in_row(task, call, answer.operation, publishing=publishing)
    if publishing:
        publish(task, answer)
    return answer


def refuse_manual_commit() -> None:
    """Nobody would tell this package of a commit that Django does not know of."""
    db = table.connection()
    if not db.in_atomic_block and not db.get_autocommit():
        raise TaskSafetyError(
            "Autocommit is off, so Django cannot say when the transaction is committed. Use transaction.atomic()."
        )


def publish(task: TaskOptions, answer: Enqueued, *, but_not: uuid.UUID | None = None) -> None:
    """Have the messages published when the caller's transaction has committed; ``but_not`` those of a parent's
    chunks."""
    for message in answer.messages:
        if but_not is not None and message[1].parent_id == but_not:
            continue
        send = partial(outbox.publish_calls, task, [message])
        # Invariant: row before message.
        transaction.on_commit(send, using=conf().DATABASE, robust=True)


def enqueue_many(task: TaskOptions, made: Sequence[Call]) -> list[AbstractOperation]:
    """Write many calls' rows in batches, in one transaction; return the operation that answers for each, in order."""
    size = min(conf().SWEEP_BATCH, most_rows(table.connection()))
    # All callers insert in the same order, so that two of them cannot wait for each other.
    ordered = sorted(made, key=lambda call: order(call.operation))
    answers: dict[int, Enqueued] = {}
    asked = [dict(call.operation.__dict__) for call in ordered]

    def enqueue_all() -> None:
        for call, values in zip(ordered, asked, strict=True):
            call.operation.__dict__.update(values)
        with transaction.atomic(using=conf().DATABASE):
            for start in range(0, len(ordered), size):
                batch = ordered[start : start + size]
                found = enqueue_batch(task, batch)
                _publish_together(task, found)
                answers.update({id(call): answer for call, answer in zip(batch, found, strict=True)})

    table.retry_on_deadlock(enqueue_all)
    return [answers[id(call)].operation for call in made]


def order(operation: AbstractOperation) -> tuple[str, str]:
    """Return by what the rows of one statement are sorted."""
    return operation.lock_slot or "", operation.key_digest or operation.pk.hex


def enqueue_batch(task: TaskOptions, batch: Sequence[Call]) -> list[Enqueued]:
    """Write the rows of calls in one statement, and answer the duplicates among them; publish nothing."""
    new = {operation.pk for operation in ledger.enqueue([call.operation for call in batch])}
    return [
        Enqueued(row, Resolution.CREATED, row.pk, ((call, row),)) if row.pk in new else answer_duplicate(task, call)
        for call, row in ((call, call.operation) for call in batch)
    ]


def _publish_together(task: TaskOptions, answers: Sequence[Enqueued]) -> None:
    """Have what is new published in one go."""
    created = [message for one in answers if one.resolution is Resolution.CREATED for message in one.messages]
    transaction.on_commit(partial(outbox.publish_calls, task, created), using=conf().DATABASE, robust=True)
    for answer in answers:
        if answer.resolution is not Resolution.CREATED:
            publish(task, answer)


def continue_in_row(task: TaskOptions, call: Call, replaced: AbstractOperation, *, publishing: bool = True) -> Enqueued:
    """Let a call go on, with all that waits for it, in the row of the operation that replaced itself."""
    with transaction.atomic(using=conf().DATABASE):
        if task.idempotent:
            # The work is done in its key's own row, for which this one waits.
            call = waiter.in_place_of_replaced(call, _work_under_new_id(task, call, publishing))
        if ledger.rerun(replaced, call.operation, new_work=False):
            answer = Enqueued(replaced, Resolution.RERUN, replaced.pk, messages_of(call, Resolution.RERUN, replaced))
            if publishing:
                publish(task, answer)
            return answer
        conflicts.look(call.operation)
    return Enqueued(replaced, Resolution.DUPLICATE, replaced.pk)


def _work_under_new_id(task: TaskOptions, call: Call, publishing: bool) -> AbstractOperation:
    try:
        return enqueue(task, replacement.under_new_id(call), publishing=publishing).operation
    except DuplicateOperation as duplicate:
        return duplicate.operation


def _enqueue_replacement(task: TaskOptions, call: Call, attempt: Attempt) -> uuid.UUID:
    """Make the call the continuation of the attempt that replaces itself by it; return the id of both."""
    own = call.operation.pk
    if task.idempotent:
        # It runs, or ran, in the key's own row; this one waits for that, unless it is the same.
        there = table.find(digest=call.operation.key_digest)
        if there is None or own not in (there.pk, there.waits_for):
            replacement.wait_for(attempt, call, enqueue(task, replacement.under_new_id(call)).operation)
            return own
    replacement.continue_in_row(attempt, task, call)
    return own
