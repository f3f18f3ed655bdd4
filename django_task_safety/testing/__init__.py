"""For the tests of a project: its tasks run by the real protocol, without a broker, a worker or waiting."""

from django_task_safety.testing.assertions import assert_enqueued, refute_enqueued
from django_task_safety.testing.crash_report import CrashReport, NotCrashSafe
from django_task_safety.testing.crashing import assert_crash_safe
from django_task_safety.testing.examples import example_of
from django_task_safety.testing.idempotency import NotIdempotent, assert_idempotent
from django_task_safety.testing.local_worker import LocalWorker
from django_task_safety.testing.subjects import CleanRunFailed

__all__ = [
    "CleanRunFailed",
    "CrashReport",
    "LocalWorker",
    "NotCrashSafe",
    "NotIdempotent",
    "assert_crash_safe",
    "assert_enqueued",
    "assert_idempotent",
    "example_of",
    "refute_enqueued",
]
