"""Django signals, one per transition, sent after commit with ``operation`` (and the sender `Operation`), and two more.

A receiver's exception is logged and does not reach the operation.
"""

from django.dispatch import Signal

operation_enqueued = Signal()
operation_started = Signal()
operation_succeeded = Signal()
#: The attempt failed and another one follows; also carries ``delay`` in seconds.
operation_retried = Signal()
#: The attempt's worker was lost and the operation was queued again.
operation_requeued = Signal()
#: Also carries ``exc``, the exception.
operation_failed = Signal()
operation_cancelled = Signal()

#: An attempt lost its operation to another one, or to a cancel, and wrote nothing; sent where that is found out.
attempt_fenced = Signal()
#: A sweep has ended; no ``operation``, but ``swept``: what it did, by number of operations.
swept = Signal()

BY_NAME = {
    "enqueued": operation_enqueued,
    "started": operation_started,
    "succeeded": operation_succeeded,
    "retried": operation_retried,
    "requeued": operation_requeued,
    "failed": operation_failed,
    "cancelled": operation_cancelled,
}
