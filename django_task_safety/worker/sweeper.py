"""The slow path that makes losing a message, or a worker, cost only a delay."""

import dataclasses
import logging
import uuid
from collections.abc import Sequence
from datetime import timedelta

from django.db import transaction
from django.db.models import F, Q

from django_task_safety import ledger, signals
from django_task_safety.conf import conf
from django_task_safety.errors import InvalidPayload, OperationError, TimeLimitPassed, Unpublishable, WorkerLost
from django_task_safety.ledger import cancellation, history, notifications, parents, schedule, table
from django_task_safety.objects.conflicts import LOCK
from django_task_safety.producer import call_options, outbox
from django_task_safety.producer.outcome import note_delivered
from django_task_safety.record import AbstractOperation, OperationRows, State
from django_task_safety.registry import safe_task_named, safe_task_names, task_of
from django_task_safety.values import codec
from django_task_safety.values.clock import After, Now
from django_task_safety.worker import backlog, poison, recovery, result_backend, retry_policy
from django_task_safety.worker.swept import Swept

logger = logging.getLogger("django_task_safety")

#: Seconds for which a lost attempt is left to those processes that know its task; then any of them ends it.
UNREGISTERED_GRACE = 3600.0
#: After so long a due operation fails whose task nobody who sweeps knows.
OVERDUE_AFTER = timedelta(days=30)

_Loss = tuple[AbstractOperation, type[OperationError], str]


@dataclasses.dataclass(slots=True)
class _Work:
    """What was done in a transaction, and is left to do when that is committed."""

    done: Swept = dataclasses.field(default_factory=Swept)
    publish: list[AbstractOperation] = dataclasses.field(default_factory=list)
    #: Ended ones of which only the result backend has to hear.
    notify: list[AbstractOperation] = dataclasses.field(default_factory=list)
    #: Those to fail with their compensations, which may take long, or break the transaction that they run in.
    alone: list[_Loss] = dataclasses.field(default_factory=list)


def sweep() -> Swept:
    """Look at every row that is due, in batches; at rest this is one indexed query.

    Any number of processes may sweep at once: each batch is locked, and what another one holds is skipped.
    """
    total, notifier = Swept(), result_backend.Notifier()
    while due := _due():
        done, notify = _sweep_batch(due, notifier)
        total.add(done)
        # What was ended is due at once: who waits for it is to hear of it.
        ended = done.failed + done.cancelled > 0
        # A broker that takes nothing stops this, a result backend does not.
        stuck = not done and not notify
        if stuck or (len(due) < conf().SWEEP_BATCH and not ended):
            break
    notifications.tell(signals.swept, "swept", Swept, swept=total)
    return total


def _due() -> list[uuid.UUID]:
    # What this process does not know is for one that does: it can publish it, knows where its results go, and may have
    # a compensation.
    lost = Q(state=State.RUNNING, due_at__gt=After(-UNREGISTERED_GRACE))
    waiting = Q(Q(state=State.QUEUED) | Q(delivered=False), due_at__gt=After(-conf().REPUBLISH_AFTER))
    foreign = (lost | waiting) & ~Q(task__in=[*safe_task_names(), LOCK, parents.SPLIT])
    found = table.rows().filter(due_at__lte=Now()).exclude(foreign).order_by("due_at")
    return list(found.values_list("pk", flat=True)[: conf().SWEEP_BATCH])


def _sweep_batch(pks: Sequence[uuid.UUID], notifier: result_backend.Notifier) -> tuple[Swept, bool]:
    """Handle one batch; where that fails, its rows one by one. Return what was done, and whether any is to be told."""
    done, works = Swept(), list[_Work]()
    try:
        works.append(_sweep_together(pks))
    except BaseException as exc:
        if poison.ends_the_sweep(exc):
            raise
        done.set_back += poison.each_apart(pks, lambda pk: works.append(_sweep_together([pk])))
    for work in works:
        done.add(work.done)
        for row, error, reason in work.alone:
            _discard_one(row, error, reason, done)
    notify = [row for work in works for row in work.notify]
    _note_delivered(notifier.notify(notify), done)
    return done, bool(notify)


def _sweep_together(pks: Sequence[uuid.UUID]) -> _Work:
    """Handle rows in one transaction, a statement for each kind, and publish after it."""
    work = _Work()
    try:
        with transaction.atomic(using=conf().DATABASE):
            still_due = table.rows().filter(pk__in=pks, due_at__lte=Now()).annotate(_now=Now())
            _handle(table.locked(still_due), work, work.done)
    finally:
        # Also where a hook failed after the commit; a message too many does no harm.
        _publish(work.publish, work.done)
    return work


def _note_delivered(told: Sequence[AbstractOperation], done: Swept) -> None:
    try:
        done.notified += note_delivered(told)
    except Exception:
        by_pk = {row.pk: row for row in told}
        done.set_back += poison.each_apart(list(by_pk), lambda pk: note_delivered([by_pk[pk]]))


def _discard_one(row: AbstractOperation, error: type[OperationError], reason: str, done: Swept) -> None:
    def discard(pk: uuid.UUID) -> None:
        done.failed += recovery.discard_one(row, error, reason, notified=False)

    done.set_back += poison.each_apart([row.pk], discard)


def _handle(batch: Sequence[AbstractOperation], work: _Work, total: Swept) -> None:
    """Change what is due, and note what is to be done after that."""
    split = [row for row in batch if row.task == parents.SPLIT and row.is_pending]
    total.settled += sum(parents.look_at(row) for row in split)
    batch = [row for row in batch if row not in split]
    # Before the lost ones are queued again in place.
    publish = _not_waiting(_not_overdue(_expired_or_queued(batch, total), work, total), total)
    publish += _lost(batch, work, total)
    notify: list[AbstractOperation] = []
    ended = [row for row in batch if not row.is_pending]
    if old := [row for row in ended if _is_old(row)]:
        total.pruned += ledger.prune(_rows_of(old))
    for row in ended:
        if not _is_old(row):
            (publish if _has_canvas(row) else notify).append(row)
    backlog.look_later(publish + notify)
    work.publish, work.notify = publish, notify


def _has_canvas(row: AbstractOperation) -> bool:
    """Return whether others hear of the outcome through the operation's message, which carries them."""
    try:
        return call_options.has_canvas(call_options.read(row))
    except InvalidPayload:
        return True  # publishing says what is wrong with it


def _lost(batch: Sequence[AbstractOperation], work: _Work, total: Swept) -> list[AbstractOperation]:
    """Running operations whose lease ran out: queued again, or failed where the attempts or the time are spent."""
    lost = [row for row in batch if row.state == State.RUNNING]
    hung = [row for row in lost if row.overran]
    spent = [row for row in lost if row not in hung and retry_policy.exhausted(row)]
    again = [row for row in lost if row not in hung and row not in spent]
    _discard_exhausted(hung, TimeLimitPassed, "It ran longer than its hard time limit", work, total)
    for attempt in sorted({row.attempt for row in spent}):
        reason = f"Its worker was lost (lease expired) in attempt {attempt}, its last"
        _discard_exhausted([row for row in spent if row.attempt == attempt], WorkerLost, reason, work, total)
    total.requeued += recovery.queue_again(again, history.LEASE_EXPIRED)
    return [row for row in again if not schedule.waits_here(row, row.__dict__["_now"])]


def _discard_exhausted(
    lost: Sequence[AbstractOperation], error: type[OperationError], reason: str, work: _Work, total: Swept
) -> None:
    alone = [row for row in lost if (task := safe_task_named(row.task)) and task.compensations]
    unregistered = [row for row in lost if safe_task_named(row.task) is None and row.task != LOCK]
    work.alone += [(row, error, reason) for row in alone]
    total.failed += recovery.discard_exhausted([row for row in lost if row not in alone + unregistered], error, reason)
    unknown = f"{reason}; its task is not registered where this was found out, so that nothing compensated for it"
    total.failed += recovery.discard_exhausted(unregistered, error, unknown)


def _expired_or_queued(batch: Sequence[AbstractOperation], total: Swept) -> list[AbstractOperation]:
    queued = [row for row in batch if row.state == State.QUEUED]
    late = [row for row in queued if row.has_expired(row.__dict__["_now"])]
    if late:
        total.cancelled += cancellation.cancel_all(_rows_of(late), cancellation.EXPIRED)
    return [row for row in queued if row not in late]


def _not_overdue(queued: Sequence[AbstractOperation], work: _Work, total: Swept) -> list[AbstractOperation]:
    """Fail what waited too long for a process that knows its task, and return the rest."""
    late = [row for row in queued if row.__dict__["_now"] - row.available_at > OVERDUE_AFTER]
    overdue = [row for row in late if safe_task_named(row.task) is None]
    _discard_exhausted(overdue, Unpublishable, f"It was due for {OVERDUE_AFTER.days} days", work, total)
    return [row for row in queued if row not in overdue]


def _not_waiting(queued: Sequence[AbstractOperation], total: Swept) -> list[AbstractOperation]:
    """Leave alone for a while what is not lost, and return the rest."""
    waiting = backlog.waiting(queued)
    backlog.leave_alone(waiting)
    total.waiting += len(waiting)
    return [row for row in queued if row not in waiting]


def _rows_of(found: Sequence[AbstractOperation]) -> OperationRows:
    return table.by_id(*(row.pk for row in found))


def _publish(found: Sequence[AbstractOperation], total: Swept) -> None:
    published = outbox.publish_rows(found)
    total.published += len(published.sent)
    for row, exc in published.broken:
        _discard_one(row, Unpublishable, f"It cannot be published: {codec.describe(exc)}", total)
    total.set_back += sum(poison.set_back(row.pk, exc) for row, exc in published.failed)
    # A task that is not registered here may be elsewhere: such a row keeps its backoff.
    settled = {row.pk for row in published.sent + published.refused}
    settled |= {row.pk for row, _ in published.broken + published.failed}
    unsent = [row for row in found if row.pk not in settled and task_of(row) is not None]
    if unsent:
        # Not their fault: they come first when the broker is back, and no backoff is counted against them.
        schedule.reschedule_free(_rows_of(unsent), conf().SWEEP_INTERVAL, republished=F("republished") - 1)


def _is_old(row: AbstractOperation) -> bool:
    """Return whether an outcome has been kept for its time, whether anybody took it or not."""
    now = row.__dict__["_now"]
    return row.delivered or bool(row.retention is not None and row.ended_at and now - row.ended_at >= row.retention)
