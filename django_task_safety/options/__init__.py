"""What a task says of itself: every option, its default, its validation."""

from django_task_safety.options.task_options import (
    CANCEL,
    ENTERED,
    IDEMPOTENT_OPTIONS,
    KEEP,
    PROTECT,
    SAFE_OPTIONS,
    Compensation,
    Example,
    RetryRule,
    TaskOptions,
    classes,
    is_count,
    parameter_names,
)
from django_task_safety.options.validation import check, refuse_unknown

__all__ = [
    "CANCEL",
    "ENTERED",
    "IDEMPOTENT_OPTIONS",
    "KEEP",
    "PROTECT",
    "SAFE_OPTIONS",
    "Compensation",
    "Example",
    "RetryRule",
    "TaskOptions",
    "check",
    "classes",
    "is_count",
    "parameter_names",
    "refuse_unknown",
]
