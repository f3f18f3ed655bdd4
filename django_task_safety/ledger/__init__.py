"""The only writer of an operation's state. Each transition is one conditional statement: the database decides.

    enqueue            (nothing)        -> QUEUED      the id and the key are new
    rerun              terminal         -> QUEUED      as it was read
    replace_arguments  QUEUED, RUNNING  -> the same    newer arguments, as it was read
    claim              QUEUED, RUNNING  -> RUNNING     due; a running one only when its lease ran out
    settle             RUNNING          -> SUCCEEDED   the token is mine, the arguments are those I ran
    requeue            RUNNING          -> QUEUED      the token is mine: a retry, newer arguments, a replacement
    finish             RUNNING          -> FAILED, CANCELLED, SUCCEEDED (replaced)   the token is mine
    cancel             QUEUED, RUNNING  -> CANCELLED
    cancel_with_object  QUEUED, RUNNING -> CANCELLED, QUEUED   queued where newer arguments about another object wait
    rescue             RUNNING          -> QUEUED      its lease ran out, its worker is known to be lost, or its time
                                                       is over and newer arguments wait
    discard_exhausted  QUEUED, RUNNING  -> FAILED      likewise, with its attempts spent
    discard_unsweepable  QUEUED, RUNNING  -> FAILED    nothing else can be done of it
    settle_parent      RUNNING          -> SUCCEEDED, FAILED, CANCELLED   of a parent: none of its chunks is pending
    reopen_parent      RUNNING, terminal  -> RUNNING   of a parent: a chunk of it is asked for again
    rerun_chunks       terminal         -> QUEUED      of chunks: together with their parent

The caller owns the transaction; announcements wait for its commit.
"""

from django_task_safety.ledger.claim import claim
from django_task_safety.ledger.columns import SUBJECT_COLUMNS, Failure
from django_task_safety.ledger.enqueue import enqueue, lock_row, replace_arguments, rerun, started
from django_task_safety.ledger.finish import (
    cancel,
    discard_exhausted,
    discard_unsweepable,
    finish,
    note_error,
    prune,
    requeue,
    rescue,
    settle,
)
from django_task_safety.ledger.object_gone import cancel_with_object
from django_task_safety.ledger.parents import reopen_parent, rerun_chunks, settle_parent
from django_task_safety.ledger.subject import allow_delete, note_subject

__all__ = [
    "SUBJECT_COLUMNS",
    "Failure",
    "allow_delete",
    "cancel",
    "cancel_with_object",
    "claim",
    "discard_exhausted",
    "discard_unsweepable",
    "enqueue",
    "finish",
    "lock_row",
    "note_error",
    "note_subject",
    "prune",
    "reopen_parent",
    "replace_arguments",
    "requeue",
    "rerun",
    "rerun_chunks",
    "rescue",
    "settle",
    "settle_parent",
    "started",
]
