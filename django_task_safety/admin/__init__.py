"""For the admin. Import this only where ``django.contrib.admin`` is installed.

The operations are registered with the default site. A project that wants them otherwise unregisters them, and registers
a class of its own.
"""

from __future__ import annotations

from django.contrib import admin

from django_task_safety.admin.operations import OperationAdmin
from django_task_safety.models import Operation
from django_task_safety.soft_delete.admin import RemovedFilter, SoftDeleteAdmin

__all__ = ["OperationAdmin", "RemovedFilter", "SoftDeleteAdmin"]

admin.site.register(Operation, OperationAdmin)
