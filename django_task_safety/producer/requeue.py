"""``operation.retry()``: queue an ended operation again, as it was asked for."""

import copy

from django.db import transaction

from django_task_safety import ledger
from django_task_safety.conf import conf
from django_task_safety.ledger import table
from django_task_safety.objects import conflicts
from django_task_safety.producer import call_options, eager, outbox
from django_task_safety.producer.call import bind_stored_subject
from django_task_safety.record import AbstractOperation, State
from django_task_safety.registry import safe_task_named
from django_task_safety.values.clock import After, Now


def retry(operation: AbstractOperation) -> bool:
    """Queue a failed or cancelled operation again, as it was asked for.

    Raises:
        ObjectLocked: If another operation holds the lock that this one needs.
        ObjectGone: If its object does not exist any more, or is removed.
    """
    seen = table.find(pk=operation.pk)
    if seen is None or seen.is_pending or seen.state == State.SUCCEEDED or seen.task == conflicts.LOCK:
        return False
    asked = copy.copy(seen)
    asked.__dict__.update(available_at=Now(), due_at=After(conf().REPUBLISH_AFTER), expires_at=None)
    bind_stored_subject(asked)
    asked.delivered = not call_options.has_canvas(call_options.read(asked))
    if not ledger.rerun(seen, asked, new_work=False):
        conflicts.look(asked)
        return False
    task = safe_task_named(seen.task)
    eagerly = task is not None and task.app.conf.task_always_eager
    if task is not None and eagerly:
        eager.run_again(task, operation)
    operation.refresh_from_db()
    if not eagerly:
        transaction.on_commit(lambda: outbox.publish_rows([operation]), using=conf().DATABASE, robust=True)
    return True
