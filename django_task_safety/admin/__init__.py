"""For the admin. Import this only where ``django.contrib.admin`` is installed.

Operations and workers are registered with the default site. A project that wants them otherwise unregisters them, and
registers classes of its own.
"""

from __future__ import annotations

from django.contrib import admin

from django_task_safety.admin.inlines import OperationsInline
from django_task_safety.admin.operations import OperationAdmin
from django_task_safety.admin.pending import PendingOperationsAdminMixin
from django_task_safety.admin.workers import WorkerAdmin
from django_task_safety.models import Operation, Worker
from django_task_safety.soft_delete.admin import RemovedFilter, SoftDeleteAdmin

__all__ = [
    "OperationAdmin",
    "OperationsInline",
    "PendingOperationsAdminMixin",
    "RemovedFilter",
    "SoftDeleteAdmin",
    "WorkerAdmin",
]

admin.site.register(Operation, OperationAdmin)
admin.site.register(Worker, WorkerAdmin)
