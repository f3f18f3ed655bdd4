"""The only writer of an operation's state. Each transition is one conditional statement: the database decides.

    enqueue    (nothing)        -> QUEUED      the id and the key are new
    reopen     terminal         -> QUEUED      as it was read
    amend      QUEUED, RUNNING  -> the same    newer arguments, as it was read
    claim      QUEUED, RUNNING  -> RUNNING     due; a running one only when its lease ran out
    settle     RUNNING          -> SUCCEEDED   the token is mine, the arguments are those I ran
    hand_back  RUNNING          -> QUEUED      the token is mine: a retry, newer arguments, a replacement
    end        RUNNING          -> FAILED, CANCELLED, SUCCEEDED (replaced)   the token is mine
    cancel     QUEUED, RUNNING  -> CANCELLED
    take_back  RUNNING          -> QUEUED      its lease ran out, its worker is known to be lost, or its time is over
                                               and newer arguments wait
    give_up    QUEUED, RUNNING  -> FAILED      likewise, with its attempts spent

The caller owns the transaction; announcements wait for its commit.
"""

from __future__ import annotations

from django_task_safety.ledger.claim import claim
from django_task_safety.ledger.columns import TIES, Failure
from django_task_safety.ledger.enqueue import amend, enqueue, hold, reopen, started
from django_task_safety.ledger.finish import cancel, end, give_up, hand_back, prune, settle, take_back

__all__ = [
    "TIES",
    "Failure",
    "amend",
    "cancel",
    "claim",
    "end",
    "enqueue",
    "give_up",
    "hand_back",
    "hold",
    "prune",
    "reopen",
    "settle",
    "started",
    "take_back",
]
