"""What one can ask of operations, lockable and soft-deletable objects in bulk."""

from __future__ import annotations

from django_task_safety.ledger.querysets import AllRowsManager, OperationManager, OperationQuerySet
from django_task_safety.locking.lockable import LockableManager, LockableQuerySet
from django_task_safety.soft_delete.managers import SoftDeleteManager, SoftDeleteQuerySet

__all__ = [
    "AllRowsManager",
    "LockableManager",
    "LockableQuerySet",
    "OperationManager",
    "OperationQuerySet",
    "SoftDeleteManager",
    "SoftDeleteQuerySet",
]
