"""A duplicate, from its call to its answer.

    answer_duplicate   the call found its id, key or lock taken: what its caller gets, and what is to be published
    resolve            find the row that is there, decide, carry it out; again where the row changed in between
    decide             by the key's ``match`` and ``version``, then by ``on_duplicate`` or ``rerun``
    carry_out          one conditional statement of the ledger

Where somebody waits for this very call, a waiter under the call's own id repeats the outcome (`waiter`).
"""

import dataclasses
import enum
import uuid

from django_task_safety import ledger
from django_task_safety.errors import DuplicateOperation, InvalidOption, KeyReused, TaskSafetyError
from django_task_safety.ledger import table
from django_task_safety.objects import conflicts
from django_task_safety.options import PROTECT, TaskOptions
from django_task_safety.producer import application, call_options, canvas, waiter
from django_task_safety.producer.call import Call
from django_task_safety.record import AbstractOperation, State
from django_task_safety.values.identity import Identity

#: How often a decision is taken again because the row changed between reading and writing.
_TRIES = 20


class Resolution(enum.Enum):
    """What becomes of a call."""

    #: It has a row of its own.
    CREATED = enum.auto()
    #: Another row answers for it, pending or ended.
    DUPLICATE = enum.auto()
    #: It gave a pending row newer arguments.
    REPLACED = enum.auto()
    #: It queued an ended row again, as the same work.
    RERUN = enum.auto()
    #: It queued an ended row again, as newer work.
    RENEWED = enum.auto()
    #: It goes on in the row of an operation that replaced itself by a canvas of which the call is the last.
    CONTINUED = enum.auto()
    #: It is other work than that whose id it came with, and has an id of its own now.
    OTHER_WORK = enum.auto()


#: A call that is to be published, and the row that it is published for.
Message = tuple[Call, AbstractOperation]


@dataclasses.dataclass(frozen=True, slots=True)
class Enqueued:
    """The row that answers for a call, how that came, the id under which its caller hears of it, what to publish."""

    operation: AbstractOperation
    resolution: Resolution
    result_id: uuid.UUID
    messages: tuple[Message, ...] = ()


def answer_duplicate(task: TaskOptions, call: Call) -> Enqueued:
    """Answer a call whose id, key or lock is taken.

    Raises:
        DuplicateOperation, KeyReused: As the task's options say.
        InvalidOption: If the caller's ``task_id`` belongs to another operation.
        ObjectLocked, ObjectGone: If the object cannot have this operation.
    """
    if _is_awaited(call):
        return _answer_who_waits(task, call)
    resolution, operation = resolve(task, call.operation)
    return Enqueued(operation, resolution, operation.pk, messages_of(call, resolution, operation))


def _is_awaited(call: Call) -> bool:
    """Return whether somebody waits for this very call: callbacks, a chain, a chord, who knows its id (a group), or a
    parent of which it is a chunk."""
    row = call.operation
    return not row.delivered or row.parent_id is not None or call.options.get("task_id") is not None


def _answer_who_waits(task: TaskOptions, call: Call) -> Enqueued:
    """The work is another row's; a waiter under the call's own id brings its outcome to those who wait."""
    work = waiter.without_canvas(call)
    try:
        resolution, operation = resolve(task, work.operation, new=call.operation)
    except DuplicateOperation as duplicate:
        if not canvas.is_continuation(task, call.options):
            raise
        resolution, operation = Resolution.DUPLICATE, duplicate.operation
    if resolution is Resolution.CONTINUED:
        return Enqueued(operation, resolution, operation.pk)
    if operation.pk == call.operation.pk:
        return Enqueued(operation, resolution, operation.pk, messages_of(call, resolution, operation))
    messages = messages_of(work, resolution, operation)
    waits = waiter.add_waiter(call, operation)
    return Enqueued(operation, resolution, waits.operation.pk, (*messages, (waits, waits.operation)))


def resolve(
    task: TaskOptions, asked: AbstractOperation, *, new: AbstractOperation | None = None, sent: bool = False
) -> tuple[Resolution, AbstractOperation]:
    """Return what becomes of a call whose id or key is taken, and the row that answers for it.

    Args:
        new: What is written instead where nothing is in the way any more: the row with those who wait.
        sent: Whether it came as a message, which may be a copy of one that was answered.

    Raises:
        DuplicateOperation, KeyReused: As the task's options say.
        ObjectLocked, ObjectGone: If the object cannot have this operation.
    """
    for attempt in range(_TRIES):
        # After a first miss only a locking read is sure to see who won (REPEATABLE READ).
        lock = attempt > 0 and table.connection().in_atomic_block
        first = table.find(pk=asked.pk, digest=asked.key_digest, lock=lock)
        if first is None:
            conflicts.look(asked)
            if ledger.enqueue([new or asked]):
                return Resolution.CREATED, new or asked
            continue
        same_id = first.pk == asked.pk
        resolution = _by_id(task, first, new or asked, sent) if same_id else decide(task, first, asked)
        if resolution is Resolution.OTHER_WORK:
            asked.pk = (new or asked).pk
        elif carry_out(resolution, first, (new or asked) if same_id else asked):
            return resolution, first
        else:
            conflicts.look(asked)
    raise TaskSafetyError(f"The operation with the key {asked.key!r} kept changing; the call was not enqueued.")


def _by_id(task: TaskOptions, first: AbstractOperation, asked: AbstractOperation, sent: bool) -> Resolution:
    copied = sent and first.task == asked.task
    if first.replaced and first.waits_for is None and not copied:
        return Resolution.CONTINUED
    if sent:
        return Resolution.DUPLICATE
    if first.task != asked.task and first.is_pending:
        raise InvalidOption(f"task_id={asked.pk} belongs to another operation ({first.task}). Leave task_id out.")
    other = application.id_of_new_work(first, asked)
    if other is None:
        return Resolution.DUPLICATE
    if task.idempotent and asked.delivered and first.key_digest == asked.key_digest:
        return decide(task, first, asked)
    if application.takes_over(first, asked):
        return Resolution.RENEWED
    asked.pk = other
    return Resolution.OTHER_WORK


def decide(task: TaskOptions, first: AbstractOperation, second: AbstractOperation) -> Resolution:
    """Return what the call that asks for ``second`` gets, where ``first`` has the same key.

    Raises:
        KeyReused: If the parameters named in ``match`` differ.
        DuplicateOperation: If the first is pending and the task says ``on_duplicate="raise"``.
    """
    if first.match_digest != second.match_digest:
        raise KeyReused(
            f"The key {first.key!r} was used with other values for {', '.join(task.match or ())}. Use a new key for "
            "new work, or the same values to repeat the call",
            first,
        )
    if second.version is not None:
        newer = _by_version(task, first, second)
        if newer is not None:
            return newer
    if first.is_pending:
        return _while_pending(task, first)
    return _after_end(task, first)


def _by_version(task: TaskOptions, first: AbstractOperation, second: AbstractOperation) -> Resolution | None:
    assert second.version is not None
    if first.succeeded_version is not None and second.version <= first.succeeded_version:
        repeat = task.rerun == "always" and second.version == first.succeeded_version and not first.is_pending
        return Resolution.RENEWED if repeat else Resolution.DUPLICATE
    newer = first.version is None or second.version > first.version
    if first.is_pending:
        return Resolution.REPLACED if newer else None
    return Resolution.RENEWED if newer else None


def _while_pending(task: TaskOptions, first: AbstractOperation) -> Resolution:
    if task.on_duplicate == "raise":
        raise DuplicateOperation(
            f"An operation with the key {first.key!r} is pending. Wait for it to end, or cancel it.", first
        )
    return Resolution.REPLACED if task.on_duplicate == "replace" and task.version is None else Resolution.DUPLICATE


def _after_end(task: TaskOptions, first: AbstractOperation) -> Resolution:
    if task.rerun == "always" and first.state == State.SUCCEEDED:
        return Resolution.RENEWED
    if task.rerun != "never" and first.state != State.SUCCEEDED:
        return Resolution.RERUN
    return Resolution.DUPLICATE


def carry_out(resolution: Resolution, first: AbstractOperation, asked: AbstractOperation) -> bool:
    """Change the row as it was read, where the resolution says so; return whether that went through."""
    if resolution not in (Resolution.REPLACED, Resolution.RERUN, Resolution.RENEWED):
        return True
    together = waiter.keep_waiters(first, asked)
    if resolution is Resolution.REPLACED:
        _refuse_other_object(first, asked)
        return ledger.replace_arguments(first, together)
    return ledger.rerun(first, together, new_work=resolution is Resolution.RENEWED)


def _refuse_other_object(first: AbstractOperation, asked: AbstractOperation) -> None:
    """One row holds one object: newer arguments cannot protect or lock another one while the first attempt runs."""
    if first.state != State.RUNNING:
        return
    same = Identity.stored(first) == Identity.stored(asked)
    if first.lock_slot != asked.lock_slot or not (same or asked.on_delete != PROTECT):
        raise KeyReused(
            f"The operation with the key {asked.key!r} runs, and holds another object than the newer arguments need. "
            "Enqueue them again when it has ended.",
            first,
        )


def messages_of(call: Call, resolution: Resolution, operation: AbstractOperation) -> tuple[Message, ...]:
    """Return what is to be published of a call: nothing where a message is on its way, or an attempt runs."""
    running = resolution is Resolution.REPLACED and operation.state == State.RUNNING
    if resolution is Resolution.DUPLICATE or running:
        return ()
    if resolution is not Resolution.CREATED:
        # Of the row, for those who wait may have been there before this call.
        call = dataclasses.replace(call, options={**call.options, **call_options.read(operation)})
    return ((call, operation),)
