"""A piece of work that a test tries: a safe task, a plain one of Celery's, one of Django's, or a callable."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from celery import Task
from django.db.models import Q

from django_task_safety import registry
from django_task_safety.errors import InvalidArguments
from django_task_safety.models import Operation
from django_task_safety.options import TaskOptions
from django_task_safety.record import State
from django_task_safety.testing.local_worker import LocalWorker


class CleanRunFailed(AssertionError):
    """The work fails without anything being done to it, so that nothing can be said about it."""


class Subject:
    """A callable, which is called with its arguments."""

    #: Whether asking for it writes a row of ours.
    has_operation = False
    #: What a reader of its faults should know.
    note = ""

    def __init__(self, work: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.work, self.args, self.kwargs = work, args, kwargs
        self.name = getattr(work, "name", None) or getattr(work, "__qualname__", None) or repr(work)

    def request(self, worker: LocalWorker) -> None:
        """Ask for the work, where that is something of its own."""

    def run(self, worker: LocalWorker) -> None:
        """Do what was asked for; whatever it raises is raised."""
        self.call()
        worker.drain()

    def deliver_again(self, worker: LocalWorker) -> None:
        """Do it once more, under the same id."""
        self.run(worker)

    def recover(self, worker: LocalWorker) -> None:
        """Do what follows on the death of its process."""
        self.run(worker)

    def call(self) -> None:
        """Do the work itself, without what it asks for in its turn."""
        self.work(*self.args, **self.kwargs)


class DjangosTask(Subject):
    """One of Django's tasks with another backend, whose function is called."""

    def call(self) -> None:
        self.work.call(*self.args, **self.kwargs)


class PlainTask(Subject):
    """A plain Celery task, which is a message."""

    def request(self, worker: LocalWorker) -> None:
        self._id = str(uuid.uuid4())
        if not self._comes_back:
            self.note = (
                "When its process dies, Celery acknowledges its message, and it is lost: the task does not have both "
                "acks_late and reject_on_worker_lost."
            )

    @property
    def _comes_back(self) -> bool:
        return bool(self.work.acks_late and self.work.reject_on_worker_lost)

    def recover(self, worker: LocalWorker) -> None:
        if self._comes_back:
            self.run(worker)
        else:  # its message is gone
            worker.drain()

    def call(self) -> None:
        self.work.apply(self.args, self.kwargs, task_id=self._id, throw=False).get()


class SafeTask(Subject):
    """A task whose calls are operations."""

    has_operation = True

    def request(self, worker: LocalWorker) -> None:
        self._enqueue()

    def call(self) -> None:
        """It is the worker that does the work."""

    def run(self, worker: LocalWorker) -> None:
        worker.drain()
        ended = Q(state=State.FAILED) | Q(state=State.CANCELLED, task=self.name)
        for operation in Operation.all_rows.filter(ended).exclude(pk__in=worker.before).order_by("created_at"):
            raise CleanRunFailed(f"{operation.task} is {operation.state}: {operation.error}")

    def deliver_again(self, worker: LocalWorker) -> None:
        worker.redeliver()
        worker.drain()

    def recover(self, worker: LocalWorker) -> None:
        worker.expire_leases()
        worker.drain()

    def _enqueue(self) -> None:
        self.work.enqueue(*self.args, **self.kwargs)


class DjangosSafeTask(SafeTask):
    """One of Django's tasks with our backend."""

    def __init__(self, work: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        super().__init__(work, args, kwargs)
        self.name = work.module_path
        # As a worker in another process does.
        work.get_backend().validate_task(work)
        registry.make_late_tasks()


def subject_of(work: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Subject:
    """Return what is to be tried.

    Raises:
        InvalidArguments: For what can neither be called nor enqueued.
    """
    if isinstance(work, TaskOptions):
        return SafeTask(work, args, kwargs)
    if isinstance(work, Task):
        return PlainTask(work, args, kwargs)
    if hasattr(work, "module_path") and hasattr(work, "get_backend"):
        safe = getattr(work.get_backend(), "makes_safe_tasks", False)
        return (DjangosSafeTask if safe else DjangosTask)(work, args, kwargs)
    if not callable(work):
        raise InvalidArguments(f"{work!r} is neither a task nor a callable.")
    return Subject(work, args, kwargs)
