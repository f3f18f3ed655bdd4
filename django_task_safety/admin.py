"""For the admin. Import this only where ``django.contrib.admin`` is installed."""

from __future__ import annotations

from django_task_safety.soft_delete.admin import RemovedFilter, SoftDeleteAdmin

__all__ = ["RemovedFilter", "SoftDeleteAdmin"]
