"""Ask for work: write its row in the caller's transaction, and have it published when that commits."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from celery.result import AsyncResult
from django.db import transaction

from django_task_safety import ledger
from django_task_safety.conf import conf
from django_task_safety.errors import DuplicateOperation, InvalidOption, KeyReused, TaskSafetyError
from django_task_safety.ledger import table
from django_task_safety.objects import conflicts
from django_task_safety.options import PROTECT
from django_task_safety.producer import canvas, outbox, replacement, waiter
from django_task_safety.producer import outcome as outcomes
from django_task_safety.producer.call import Call
from django_task_safety.producer.deduplication import Resolution, decide
from django_task_safety.record import AbstractOperation, State
from django_task_safety.values import codec

if TYPE_CHECKING:
    from django_task_safety.context import Attempt
    from django_task_safety.options import TaskOptions

#: How often a decision is taken again because the row changed between reading and writing.
_TRIES = 20


@dataclasses.dataclass(frozen=True, slots=True)
class Enqueued:
    """The row that answers for a call, how that came, and the id under which its caller hears of it."""

    operation: AbstractOperation
    resolution: Resolution
    result_id: uuid.UUID


def enqueue(task: TaskOptions, call: Call, *, publish: bool = True) -> Enqueued:
    """Write the call's row, or find the one that answers for it: one statement, at most two for a duplicate.

    Raises:
        DuplicateOperation, KeyReused: As the task's options say.
        InvalidOption: If the caller's ``task_id`` belongs to another operation.
        ObjectLocked: If another operation holds the lock that this one needs.
        ObjectGone: If its object does not exist any more, or is removed.
    """
    _check_autocommit()
    if ledger.enqueue([call.operation]):
        resolution, operation = Resolution.CREATED, call.operation
    elif _is_awaited(call):
        return _enqueue_awaited(task, call, publish)
    else:
        resolution, operation = resolve(task, call.operation)
    if publish:
        _publish_after_commit(task, call, resolution, operation)
    return Enqueued(operation, resolution, operation.pk)


def _enqueue_awaited(task: TaskOptions, call: Call, publish: bool) -> Enqueued:
    """The work is another row's; a follower under the call's own id brings its outcome to those who wait."""
    work = waiter.without_canvas(call)
    try:
        resolution, operation = resolve(task, work.operation, new=call.operation)
    except DuplicateOperation as duplicate:
        if not canvas.is_continuation(task, call.options):
            raise
        resolution, operation = Resolution.DUPLICATE, duplicate.operation
    if resolution is Resolution.CONTINUED:
        return continue_in_row(task, call, operation, publish=publish)
    if publish:
        _publish_after_commit(task, call if resolution is Resolution.CREATED else work, resolution, operation)
    if operation.pk == call.operation.pk:
        return Enqueued(operation, resolution, operation.pk)
    waiter_row = waiter.add_waiter(call, operation)
    if publish:
        _publish_after_commit(task, waiter_row, Resolution.CREATED, waiter_row.operation)
    return Enqueued(operation, resolution, waiter_row.operation.pk)


def continue_in_row(task: TaskOptions, call: Call, replaced: AbstractOperation, *, publish: bool = True) -> Enqueued:
    """Let a call go on, with all that waits for it, in the row of the operation that replaced itself."""
    with transaction.atomic(using=conf().DATABASE):
        if task.idempotent:
            # The work is done in its key's own row, which this one follows.
            try:
                answer = enqueue(task, replacement.under_new_id(call), publish=publish).operation
            except DuplicateOperation as duplicate:
                answer = duplicate.operation
            call = waiter.in_place_of_replaced(call, answer)
        went = ledger.rerun(replaced, call.operation, new_work=False)
        if not went:
            conflicts.look(call.operation)
        elif publish:
            _publish_after_commit(task, call, Resolution.RERUN, replaced)
    return Enqueued(replaced, Resolution.RERUN if went else Resolution.DUPLICATE, replaced.pk)


def _check_autocommit() -> None:
    """Nobody would tell this package of a commit that Django does not know of."""
    db = table.connection()
    if not db.in_atomic_block and not db.get_autocommit():
        raise TaskSafetyError(
            "Autocommit is off, so Django cannot say when the transaction is committed. Use transaction.atomic()."
        )


def _is_awaited(call: Call) -> bool:
    """Return whether somebody waits for this very call: callbacks, a chain, a chord, or who knows its id (a group)."""
    return not call.operation.delivered or call.options.get("task_id") is not None


def enqueue_call(task: TaskOptions, call: Call) -> AsyncResult[Any]:
    """Enqueue a call of ``apply_async`` and return the handle by which its caller hears of the outcome."""
    attempt = replacement.replaced_by(call)
    if attempt is not None:
        return task.AsyncResult(str(_enqueue_replacement(task, call, attempt)))
    answer = enqueue(task, call)
    handle = task.AsyncResult(str(answer.result_id))
    if answer.resolution is Resolution.DUPLICATE and answer.result_id == answer.operation.pk:
        outcomes.fill(handle, task, answer.operation)
    return handle


def _enqueue_replacement(task: TaskOptions, call: Call, attempt: Attempt) -> uuid.UUID:
    own = call.operation.pk
    if task.idempotent:
        # It runs, or ran, in the key's own row; this one follows that, unless it is the same.
        answer = table.find(digest=call.operation.key_digest)
        if answer is None or own not in (answer.pk, answer.waits_for):
            replacement.wait_for(attempt, call, enqueue(task, replacement.under_new_id(call)).operation)
            return own
    replacement.continue_in_row(attempt, task, call)
    return own


def resolve(
    task: TaskOptions, asked: AbstractOperation, *, new: AbstractOperation | None = None, sent: bool = False
) -> tuple[Resolution, AbstractOperation]:
    """Return what becomes of a call whose id or key is taken, and the row that answers for it.

    Args:
        task: The task.
        asked: The row that the call asks for.
        new: What is written instead where nothing is in the way any more: the row with those who wait.
        sent: Whether it came as a message, which may be a copy of one that was answered.

    Raises:
        DuplicateOperation, KeyReused: As the task's options say.
        ObjectLocked, ObjectGone: If the object cannot have this operation.
    """
    for attempt in range(_TRIES):
        # After a first miss only a locking read is sure to see who won (REPEATABLE READ).
        first = table.find(pk=asked.pk, digest=asked.key_digest, lock=attempt > 0 and _in_transaction())
        if first is None:
            conflicts.look(asked)
            if ledger.enqueue([new or asked]):
                return Resolution.CREATED, new or asked
            continue
        resolution = _same_id(first, asked, sent) if first.pk == asked.pk else decide(task, first, asked)
        if _carry_out(resolution, first, asked):
            return resolution, first
        conflicts.look(asked)
    raise TaskSafetyError(f"The operation with the key {asked.key!r} kept changing; the call was not enqueued.")


def _same_id(first: AbstractOperation, asked: AbstractOperation, sent: bool) -> Resolution:
    copied = sent and first.task == asked.task
    if first.replaced and first.waits_for is None and not copied:
        return Resolution.CONTINUED
    if first.task != asked.task and not sent:
        raise InvalidOption(f"task_id={asked.pk} belongs to another operation ({first.task}). Leave task_id out.")
    return Resolution.DUPLICATE


def _carry_out(resolution: Resolution, first: AbstractOperation, asked: AbstractOperation) -> bool:
    if resolution not in (Resolution.REPLACED, Resolution.RERUN, Resolution.RENEWED):
        return True
    together = waiter.keep_waiters(first, asked)
    if resolution is Resolution.REPLACED:
        _may_wait(first, asked)
        return ledger.replace_arguments(first, together)
    return ledger.rerun(first, together, new_work=resolution is Resolution.RENEWED)


def _may_wait(first: AbstractOperation, asked: AbstractOperation) -> None:
    """One row holds one object: newer arguments cannot protect or lock another one while the first attempt runs."""
    if first.state != State.RUNNING:
        return
    same = (first.subject_label, first.subject_id) == (asked.subject_label, asked.subject_id)
    if first.lock_slot != asked.lock_slot or not (same or asked.on_delete != PROTECT):
        raise KeyReused(
            f"The operation with the key {asked.key!r} runs, and holds another object than the newer arguments need. "
            "Enqueue them again when it has ended.",
            first,
        )


def _in_transaction() -> bool:
    return table.connection().in_atomic_block


def _publish_after_commit(task: TaskOptions, call: Call, resolution: Resolution, operation: AbstractOperation) -> None:
    if resolution is Resolution.DUPLICATE or (resolution is Resolution.REPLACED and operation.state == State.RUNNING):
        return
    if resolution is not Resolution.CREATED and operation.options:
        # Of the row, for those who wait may have been there before this call.
        call = dataclasses.replace(call, options={**call.options, **codec.loads(operation.options)})
    publish = partial(outbox.publish_call, task, call, operation, forget=resolution is not Resolution.CREATED)
    transaction.on_commit(publish, using=conf().DATABASE, robust=True)


def enqueue_many(task: TaskOptions, made: Sequence[Call]) -> list[AbstractOperation]:
    """Write many calls' rows in batches, in one transaction; return the operation that answers for each, in order."""
    size = conf().SWEEP_BATCH
    # All callers insert in the same order, so that two of them cannot wait for each other.
    ordered = sorted(made, key=lambda call: _order(call.operation))
    answers: dict[int, AbstractOperation] = {}
    asked = [dict(call.operation.__dict__) for call in ordered]

    def enqueue_all() -> None:
        for call, values in zip(ordered, asked, strict=True):
            call.operation.__dict__.update(values)
        with transaction.atomic(using=conf().DATABASE):
            for start in range(0, len(ordered), size):
                _enqueue_batch(task, ordered[start : start + size], answers)

    table.retry_on_deadlock(enqueue_all)
    return [answers[id(call)] for call in made]


def _order(operation: AbstractOperation) -> tuple[str, str]:
    return operation.lock_slot or "", operation.key_digest or operation.pk.hex


def _enqueue_batch(task: TaskOptions, batch: Sequence[Call], answers: dict[int, AbstractOperation]) -> None:
    new = {operation.pk for operation in ledger.enqueue([call.operation for call in batch])}
    created = [call for call in batch if call.operation.pk in new]
    transaction.on_commit(partial(outbox.publish_calls, task, created), using=conf().DATABASE, robust=True)
    for call in batch:
        answers[id(call)] = call.operation
        if call.operation.pk not in new:
            resolution, answer = resolve(task, call.operation)
            answers[id(call)] = answer
            _publish_after_commit(task, call, resolution, answer)
