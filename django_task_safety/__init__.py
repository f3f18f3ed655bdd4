"""Task-safety primitives for Celery and Django: a task may be delivered twice, crash anywhere, be cancelled, or
race with its users, and the data is still right."""

from __future__ import annotations

from django_task_safety.context import current_operation, requested_by
from django_task_safety.decorators import idempotent_task, safe_task
from django_task_safety.errors import (
    DuplicateOperation,
    ImplicitCommit,
    InvalidArguments,
    InvalidKey,
    InvalidOption,
    InvalidPayload,
    InvalidSetting,
    KeyReused,
    LockLost,
    NotCommitted,
    ObjectGone,
    ObjectLocked,
    OperationCancelled,
    OperationFailed,
    OperationSuperseded,
    PayloadTooLarge,
    RemovedExists,
    RestoreConflict,
    TaskSafetyError,
    TimeLimitPassed,
    TransactionRolledBack,
    Unpublishable,
    WorkerLost,
)
from django_task_safety.locking.locks import lock_all
from django_task_safety.objects.watching import watch
from django_task_safety.options import CANCEL, KEEP, PROTECT
from django_task_safety.splitting import split
from django_task_safety.tasks import SafeTask
from django_task_safety.version import __version__ as __version__
from django_task_safety.worker.progress import track

__all__ = [
    "CANCEL",
    "KEEP",
    "PROTECT",
    "DuplicateOperation",
    "ImplicitCommit",
    "InvalidArguments",
    "InvalidKey",
    "InvalidOption",
    "InvalidPayload",
    "InvalidSetting",
    "KeyReused",
    "LockLost",
    "NotCommitted",
    "ObjectGone",
    "ObjectLocked",
    "OperationCancelled",
    "OperationFailed",
    "OperationSuperseded",
    "PayloadTooLarge",
    "RemovedExists",
    "RestoreConflict",
    "SafeTask",
    "TaskSafetyError",
    "TimeLimitPassed",
    "TransactionRolledBack",
    "Unpublishable",
    "WorkerLost",
    "current_operation",
    "idempotent_task",
    "lock_all",
    "requested_by",
    "safe_task",
    "split",
    "track",
    "watch",
]
