"""``split()``: one task over many rows, in chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from django.db import models

    from django_task_safety.models import Operation


def split(queryset: models.QuerySet[Any], size: int, task: Any, **arguments: Any) -> Operation:
    """Enqueue a task for the rows of a queryset: one operation for each chunk of primary keys, all under one parent.

    In the current transaction; the rows are read chunk by chunk, in the order of their primary keys.

    Args:
        queryset: The rows.
        size: How many of them a chunk has, at most.
        task: The task; its parameter ``pks`` gets a chunk's primary keys as a list.
        arguments: The task's other arguments, the same for each chunk.

    Returns:
        The parent, which runs nothing, and ends as its chunks do.

    Raises:
        InvalidArguments: If one of the arguments cannot be.
        InvalidKey: If the key of an idempotent task does not tell its chunks apart.
        TaskSafetyError: Another of its kinds, as ``enqueue`` does. Nothing was written.
    """
    from django_task_safety.producer import chunks

    return cast("Operation", chunks.split(queryset, size, task, arguments))
