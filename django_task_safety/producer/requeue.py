"""``operation.retry()`` and ``rerun()``: queue an ended operation again, as it was asked for."""

import copy
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
        done = chunks.again(seen, what, by)
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
