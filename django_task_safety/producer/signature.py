"""How a task is called."""

import inspect
from functools import lru_cache

from django_task_safety.options import TaskOptions


@lru_cache(maxsize=4096)
def signature_of(task: TaskOptions) -> inspect.Signature:
    """Return the signature of the task's function, without ``self``."""
    return inspect.signature(task.run)
