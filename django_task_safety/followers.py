"""Followers: duplicates whose caller, callback or canvas waits for the outcome of another call's operation.

A follower has a row of its own, so that it is as hard to lose as the work: it is published, claimed and swept like an
operation, but instead of running anything it repeats the outcome of the one it follows, or comes back later.
"""

from __future__ import annotations

import copy
import dataclasses
import uuid
from typing import TYPE_CHECKING

from celery.exceptions import Ignore

from django_task_safety import codec, ledger, outbox, replay, table
from django_task_safety.call_options import CANVAS
from django_task_safety.calls import Call
from django_task_safety.clock import After, Now
from django_task_safety.conf import conf
from django_task_safety.models import Operation

if TYPE_CHECKING:
    from django_task_safety.tasks import SafeTask

State = Operation.State

#: Seconds before a follower looks again the first time; doubled with each look, up to the second number.
LOOK, LOOK_MAX = 0.5, 10.0


def without_canvas(call: Call) -> Call:
    """Return the call without what waits for it: the work alone."""
    row = copy.copy(call.operation)
    row.delivered = True
    drop = (*CANVAS, "group_id", "group_index")
    options = {name: value for name, value in call.options.items() if name not in drop}
    kept = {name: value for name, value in options.items() if name not in ("eta", "expires", "task_id")}
    row.options = codec.dumps(kept, "json") if kept else ""
    return dataclasses.replace(call, operation=row, options=options)


def follow(call: Call, followed: Operation) -> Call:
    """Write a follower in the place of the duplicate call, and return the call as the follower's."""
    row = copy.copy(call.operation)
    row.key, row.key_digest, row.match_digest, row.follows = "", None, "", followed.pk
    row.version, row.max_attempts, row.expires_at = None, None, None
    row.available_at, row.due_at, row.created_at = Now(), After(conf().REPUBLISH_AFTER), Now()
    ledger.enqueue([row])
    options = {name: value for name, value in call.options.items() if name not in ("eta", "expires")}
    return dataclasses.replace(call, operation=row, options=options)


def answer(task: SafeTask, follower: Operation) -> replay.Answer:
    """Repeat the outcome of the operation that a claimed follower follows.

    Raises:
        Ignore: When that is still pending, and the follower comes back; or was cancelled.
        Exception: The stored one, when it failed.
    """
    assert follower.follows is not None
    seen = table.read(follower.follows)
    if seen is not None and seen.operation.is_pending:
        _come_back(follower)
    followed = seen.operation if seen else _gone(follower.follows)
    if _repeat(task, follower, followed):
        return replay.outcome(task, followed)
    raise Ignore("Another copy of this message answered.")


def _come_back(follower: Operation) -> None:
    delay = min(LOOK_MAX, LOOK * 2 ** min(follower.attempt - 1, 10))
    if ledger.hand_back(follower, delay, name="requeued"):
        outbox.publish_rows(table.rows().filter(pk=follower.pk))
    raise Ignore(f"It follows a pending operation and comes back in {delay:g} s.")


def _repeat(task: SafeTask, follower: Operation, followed: Operation) -> bool:
    if followed.state == State.SUCCEEDED:
        return ledger.settle(follower, followed.result_payload, replay.retention(follower))
    failure = ledger.Failure(followed.error, followed.traceback, followed.exception)
    return ledger.end(follower, State(followed.state), failure)


def _gone(pk: uuid.UUID) -> Operation:
    return Operation(id=pk, state=State.CANCELLED, error="The operation that this duplicate followed is gone.")
