"""`SafeTask`: a Celery task whose calls are operations."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from celery import Celery
from celery.canvas import Signature, _chain
from celery.exceptions import Ignore, Retry
from celery.result import AsyncResult

from django_task_safety import options as task_options
from django_task_safety import registry
from django_task_safety.context import current_attempt, plain_call
from django_task_safety.options import Compensation, Example
from django_task_safety.producer import call_options, canvas
from django_task_safety.producer.gathering import calls_of, gathered
from django_task_safety.producer.optioned import OptionedTask
from django_task_safety.producer.result_handle import OperationResult
from django_task_safety.worker import progress

if TYPE_CHECKING:
    from django_task_safety.models import Operation

# What uses the operations' table is imported late: a Celery app, which may name this class, is made before the models.


class SafeTask(task_options.TaskOptions):
    """A task with one row per call, its effects exactly once; see `safe_task` for the options."""

    abstract = True

    acks_late = True
    Request = "django_task_safety.worker.request:SafeRequest"

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Put the protocol in front of the body, so that a ``__call__`` of a base class, which may run ``self.run``,
        does not go around it."""
        task = super().__new__(cls)
        task.body = task.run
        task.run = functools.update_wrapper(functools.partial(task._run), task.body)  # type: ignore[method-assign]
        return task

    @classmethod
    def on_bound(cls, app: Celery) -> None:
        """Fill in the time limits from the settings, and refuse options that cannot work.

        Raises:
            InvalidOption: Naming the option.
        """
        if not cls.name:
            return
        from django_task_safety.checks import installation

        # Also from here, so that a project which forgot to install the app is told by Django's checks.
        installation.register()
        registry.note_bound(app)
        task_options.check(cls)
        cls.fill_limits(app)

    def compensate(self, handler: Compensation) -> Compensation:
        """Register ``handler(operation, exc)``, called once, in the transaction that makes the operation FAILED."""
        self.compensations.append(handler)
        return handler

    def example(self, make: Example) -> Example:
        """Register what makes an example of a call for tests: ``make()`` creates what the task needs in the test's
        database, and returns its ``(args, kwargs)``. The last one registered counts."""
        self.examples[:] = [make]
        return make

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: Any = None,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """Enqueue an operation; takes every option of Celery's ``apply_async``.

        Returns:
            A result handle whose id is the operation's.

        Raises:
            TaskSafetyError: One of its kinds for whatever is wrong with the call. Nothing was written.
        """
        options |= call_options.given({"task_id": task_id, "link": link, "link_error": link_error, "shadow": shadow})
        calls = gathered(self)
        if self.app.conf.task_always_eager and calls is None:
            return cast("AsyncResult[Any]", self.apply(args, kwargs, **options))
        from django_task_safety.producer import enqueue, messages
        from django_task_safety.producer.call import make_call

        call = make_call(self, args, kwargs, canvas.with_lineage(self, options))
        if not self.app.conf.task_always_eager:
            call = messages.prepare(self, call)
        if calls is not None:
            calls.append(call)
            return self.AsyncResult(call_options.celery_id(call.operation.pk, call.options))
        result = enqueue.enqueue_call(self, call)
        canvas.note_child(self, result, options)
        return result

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> None:
        """Call ``delay`` for Celery's projects that do so when the transaction commits; see `apply_async_on_commit`."""
        self.apply_async_on_commit(args, kwargs)

    def apply_async_on_commit(self, *args: Any, **kwargs: Any) -> None:
        """Call `apply_async`; the operation is there if, and only if, the open transaction commits.

        An operation is written in the transaction anyway, and so is not lost between its commit and the call. Only
        where it is kept in another database, and in eager mode, the call is made by Django's ``on_commit()``.
        """
        from django.db import DEFAULT_DB_ALIAS, transaction

        from django_task_safety.conf import conf

        if self.app.conf.task_always_eager or conf().DATABASE != DEFAULT_DB_ALIAS:
            transaction.on_commit(functools.partial(self.apply_async, *args, **kwargs))
        else:
            self.apply_async(*args, **kwargs)

    def options(self, *, requested_by: Any) -> OptionedTask:
        """Return what calls the task for a user (or a user's primary key): with ``delay``, ``apply_async``, …"""
        return OptionedTask(self, requested_by)

    def enqueue(self, *args: Any, **kwargs: Any) -> Operation:
        """Enqueue and return the operation: the new one, or the one that answers for a duplicate."""
        from django_task_safety.producer import eager

        (call,) = calls_of(self, [(args, kwargs)])
        return cast("Operation", eager.enqueue_call(self, call))

    def enqueue_many(self, calls: Iterable[Sequence[Any] | Mapping[str, Any]]) -> list[Operation]:
        """Enqueue many calls in batches, in one transaction.

        Args:
            calls: Tuples of positional arguments or dicts of keyword arguments.

        Returns:
            One operation for each, in order.
        """
        from django_task_safety.producer import eager, enqueue

        made = calls_of(self, [call_options.one_call(one) for one in calls])
        if self.app.conf.task_always_eager:
            return [cast("Operation", eager.enqueue_call(self, call)) for call in made]
        return cast("list[Operation]", enqueue.enqueue_many(self, made))

    def AsyncResult(self, task_id: str, **kwargs: Any) -> OperationResult:  # noqa: N802 - Celery's name
        """Return a result handle, as Celery's `AsyncResult` does."""
        return OperationResult(task_id, backend=self.backend, task_name=self.name, app=self.app, **kwargs)

    def apply(  # type: ignore[override]
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Run the whole protocol in this process and return Celery's ``EagerResult``; retries do not wait."""
        from django_task_safety.producer import eager, enqueue, replacement
        from django_task_safety.producer.call import make_call

        call = make_call(self, args, kwargs, {**options, "countdown": None, "eta": None})
        call = replacement.under_new_id(call) if replacement.replaced_by(call) else call
        operation = enqueue.enqueue(self, call, publishing=False).operation
        return eager.run(self, super().apply, call, operation, options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the protocol for a worker; run the plain function for everybody else."""
        if not self._is_to_begin():
            return super().__call__(*args, **kwargs)
        # Not by Celery's own, which would push a request that knows nothing of the message.
        return self.run(*args, **kwargs)

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        """Run the protocol around the body, once for each request that came as a message."""
        if not self._is_to_begin():
            with plain_call():
                return self.body(*args, **kwargs)
        setattr(self.request, task_options.ENTERED, True)
        from django_task_safety.worker import delivery

        return delivery.deliver(self, args, kwargs)

    def _is_to_begin(self) -> bool:
        """Whether a message brought the request, and the protocol does not run it yet."""
        return not (self.request.called_directly or getattr(self.request, task_options.ENTERED, False))

    def retry(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: Exception | None = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | timedelta | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Retry:
        """Queue another attempt, as Celery's ``retry`` does; without a countdown or ETA after the task's backoff.

        What the body wrote is rolled back, except with ``throw=False`` and a normal return.

        Raises:
            Retry: Unless ``throw`` is False.
            MaxRetriesExceededError: Or ``exc``, when the attempts are spent.
            TaskSafetyError: One of its kinds for arguments, options or a time that cannot be.
        """
        attempt = current_attempt()
        if attempt is None and self._is_to_begin():
            # A hook before the task: what it raises makes an attempt of it.
            raise Retry(exc=exc, when=countdown if eta is None else eta)  # type: ignore[arg-type]
        if attempt is None or attempt.task.name != self.name:
            plain_retry: Any = super().retry
            return cast(Retry, plain_retry(args, kwargs, exc, throw, eta, countdown, max_retries, **options))
        from django_task_safety.worker import retry_policy

        retry_policy.check_left(attempt, max_retries, exc, args, kwargs)
        changes = {"args": args, "kwargs": kwargs, "options": call_options.given(options), "max_retries": max_retries}
        signal = retry_policy.request_retry(attempt, exc, eta, countdown, **changes)
        if throw:
            raise signal
        return signal

    def update_state(self, task_id: Any = None, state: Any = None, meta: Any = None, **kwargs: Any) -> None:
        """Tell the result backend; ``"PROGRESS"`` with ``{"current": …, "total": …}`` is a ``report()``, too."""
        progress.report_state(self, task_id, state, meta)
        super().update_state(task_id, state, meta, **kwargs)

    def replace(self, sig: Signature[Any]) -> Any:
        """Replace the running task by ``sig`` under the same id; what the body wrote is kept."""
        if (attempt := current_attempt()) is None:
            return super().replace(sig)
        from django_task_safety.producer import replacement

        try:
            with replacement.replacing(attempt):
                # Celery runs the replacement right here in eager mode, and returns its value.
                attempt.eager_value = super().replace(sig)
            replacement.has_run(attempt)
        finally:
            attempt.replaced = True
        raise Ignore("Replaced, and the replacement has run.")

    def on_replace(self, sig: Signature[Any]) -> Any:
        """Go on as the replacement, which calls back once."""
        if isinstance(sig, _chain):
            sig.options.pop("link", None)  # it has gone to the last task; before 5.7 Celery leaves it here as well
        return super().on_replace(sig)
