"""``operation.retry()`` and ``rerun()``: queue an ended operation again, as it was asked for."""

import copy
import uuid
from functools import partial
from typing import Any

from django.db import transaction

from django_task_safety import ledger
from django_task_safety.conf import conf
from django_task_safety.ledger import history, parents, table
from django_task_safety.objects import conflicts
from django_task_safety.producer import call_options, chunks, eager, outbox
from django_task_safety.producer.call import bind_stored_subject
from django_task_safety.record import AbstractOperation, State
from django_task_safety.registry import task_of
from django_task_safety.values.clock import After, Now


def retry(operation: AbstractOperation, by: Any = None) -> bool:
    """Queue a failed or cancelled operation again, as it was asked for; ``by`` whom, if that is known.

    Raises:
        ObjectLocked: If another operation holds the lock that this one needs.
        ObjectGone: If its object does not exist any more, or is removed.
    """
    seen = table.find(pk=operation.pk)
    ended = seen is not None and not seen.is_pending and seen.state != State.SUCCEEDED
    return seen is not None and ended and _queue_again(operation, seen, "retry", by)


def rerun(operation: AbstractOperation, by: Any = None) -> bool:
    """Queue an operation that succeeded once more, as new work; raises as `retry` does."""
    seen = table.find(pk=operation.pk)
    return seen is not None and seen.state == State.SUCCEEDED and _queue_again(operation, seen, "rerun", by)


def _queue_again(operation: AbstractOperation, seen: AbstractOperation, what: str, by: Any) -> bool:
    if seen.task == conflicts.LOCK:
        return False
    if seen.task == parents.SPLIT:
        done = _parent_again(seen, what, by)
        operation.refresh_from_db()
        return done
    asked = copy.copy(seen)
    asked.__dict__.update(available_at=Now(), due_at=After(conf().REPUBLISH_AFTER), expires_at=None)
    bind_stored_subject(asked)
    asked.delivered = not call_options.has_canvas(call_options.read(asked))
    if not ledger.rerun(seen, asked, new_work=what == "rerun", event=history.event(what, by)):
        conflicts.look(asked)
        return False
    task = task_of(seen)
    eagerly = task is not None and task.app.conf.task_always_eager
    if task is not None and eagerly:
        eager.run_again(task, operation)
    operation.refresh_from_db()
    if not eagerly:
        transaction.on_commit(lambda: outbox.publish_rows([operation]), using=conf().DATABASE, robust=True)
    return True


def _parent_again(seen: AbstractOperation, what: str, by: Any) -> bool:
    """Queue a parent's chunks again in one statement: those that did not succeed, or, as new work, all of them."""
    states = (State.SUCCEEDED,) if what == "rerun" else (State.FAILED, State.CANCELLED)
    line = history.event(what, by)
    with transaction.atomic(using=conf().DATABASE):
        bind_stored_subject(seen)
        ledger.lock_row(seen)
        ledger.reopen_parent(seen.pk, line)
        # What is another split's work is asked for again there.
        waiting = parents.chunks(seen.pk).filter(state__in=states).exclude(waits_for=None)
        for awaited in table.rows().filter(pk__in=list(waiting.values_list("waits_for", flat=True)), state__in=states):
            _queue_again(awaited, awaited, what, by)
        ledger.rerun_chunks(seen.pk, states, line, new_work=what == "rerun")
        transaction.on_commit(partial(_start_chunks, seen.pk), using=conf().DATABASE, robust=True)
    return True


def _start_chunks(pk: uuid.UUID) -> None:
    queued = parents.chunks(pk).filter(state=State.QUEUED)
    first = queued.first()
    task = task_of(first) if first is not None else None
    if task is None or not task.app.conf.task_always_eager:
        chunks.publish_chunks(pk)
        return
    for chunk in list(queued):
        eager.run_again(task, chunk)
