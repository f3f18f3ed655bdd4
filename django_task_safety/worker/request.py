"""A worker's view of a safe task's message: what the pool's parent learns of attempts that cannot tell themselves."""

import threading
import uuid
from functools import partial
from typing import Any

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback  # type: ignore[attr-defined]
from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery.worker import state
from celery.worker.request import Request

from django_task_safety.ids import message_id
from django_task_safety.ledger.own_connections import own_connections
from django_task_safety.worker import connection, keeper, recovery
from django_task_safety.worker.recovery import LossOutcome


class SafeRequest(Request):
    """Settles what the child process could not: lost workers, hard time limits, revoked and expired messages.

    In the pool's parent, which must not keep a connection for later children to inherit, nor open a pool.
    """

    _timed_out = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Celery makes a class for each task, whose ``on_success`` gets, from a pool without processes, what ends one:
        as an exception that it cannot unpack, so that the message would never be acknowledged."""
        super().__init_subclass__(**kwargs)
        succeeded = cls.on_success

        def on_success(self: SafeRequest, ended: Any, **more: Any) -> Any:
            if isinstance(ended, ExceptionInfo):
                return self.on_failure(ended, return_ok=True)
            return succeeded(self, ended, **more)

        cls.on_success = on_success  # type: ignore[method-assign, assignment]

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """Queue the operation again when its worker was lost, as long as it has attempts left."""
        exc = exc_info.exception
        exc = exc.exc if isinstance(exc, ExceptionWithTraceback) else exc
        told_to_stop = self._already_cancelled or self._already_revoked  # type: ignore[attr-defined]
        went = isinstance(exc, SystemExit | KeyboardInterrupt) and not told_to_stop
        if not went and not isinstance(exc, WorkerLostError):
            return super().on_failure(exc_info, send_failed_event, return_ok)
        if self._timed_out:
            return None  # the pool killed it for its time limit, and all has been said
        with own_connections():
            if not state.should_terminate and self._taken_care_of(exc):
                state.task_ready(self)
                return None
            # Where the loss is recorded, which may be in a database.
            return super().on_failure(exc_info, send_failed_event, return_ok)

    def _taken_care_of(self, exc: BaseException) -> bool:
        """Have the operation of a lost worker go on, and say whether it does; else Celery records the loss."""
        with connection.briefly("its worker was lost"):
            outcome = self._loss_outcome(exc)
            if outcome in (LossOutcome.QUEUED_AGAIN, LossOutcome.NOT_OURS):
                self.acknowledge()
                return True
            if outcome is LossOutcome.UNKNOWN and not (self.delivery_info or {}).get("redelivered"):
                # It died before it had a row. The broker has it still, and gives it one more chance.
                self.reject(requeue=True)
                return True
        return False

    def _loss_outcome(self, exc: BaseException) -> LossOutcome:
        # A child that was told to go hands its attempt back before it dies, and another one here may run the next.
        taken_over = keeper.running_ids().count(self._operation_id()) > 1
        return LossOutcome.NOT_OURS if taken_over else recovery.worker_lost(self._operation_id(), exc)

    @own_connections()
    def on_timeout(self, soft: bool, timeout: float) -> None:
        """Fail the operation when the pool killed it at its hard time limit."""
        super().on_timeout(soft, timeout)
        if not soft and not state.should_terminate:
            self._timed_out = True
            # In a thread, since the pool kills the child only after this returns, and it may hold the row till then.
            settle = partial(_settle_time_limit, self._operation_id(), timeout)
            threading.Thread(target=settle, name="task-safety-time-limit", daemon=True).start()

    @own_connections()
    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        super()._announce_revoked(reason, terminated, signum, expired)  # type: ignore[misc]
        # The row remembers; in the worker's memory the id would also stop a later rerun of the operation.
        state.revoked.discard(self.id)
        settle = partial(_settle_revoke, self._operation_id(), reason, terminated=terminated, expired=expired)
        if not settle(wait=False):
            # The worker's main loop must not wait until somebody is done with the row.
            threading.Thread(target=settle, kwargs={"wait": True}, name="task-safety-revoke", daemon=True).start()

    def _operation_id(self) -> uuid.UUID:
        return message_id(self.id)


def _settle_revoke(pk: uuid.UUID, reason: str, **how: bool) -> bool:
    done = True
    with connection.briefly("it was revoked"):
        done = recovery.revoked(pk, reason, **how)
    return done


def _settle_time_limit(pk: uuid.UUID, timeout: float) -> None:
    with connection.briefly("it passed its hard time limit"):
        recovery.time_limit_passed(pk, TimeLimitExceeded(timeout))
