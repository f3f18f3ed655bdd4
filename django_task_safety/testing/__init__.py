"""For the tests of a project: its tasks run by the real protocol, without a broker, a worker or waiting."""

from django_task_safety.testing.assertions import assert_enqueued, refute_enqueued
from django_task_safety.testing.local_worker import LocalWorker

__all__ = ["LocalWorker", "assert_enqueued", "refute_enqueued"]
